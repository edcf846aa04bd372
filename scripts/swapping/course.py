"""Several callers ask, each for one model after another, chosen by chance; one model fits.

Beside it stands what a gateway would load that keeps the one model that was asked for last (LRU by count, of one) and
answers in the order of arrival, on the very same requests: how often two that follow each other want different models.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moltbot_edge.config.schema import Engines
from moltbot_edge.local.launch import EngineModel, Launcher
from swapping.gateway import Gateway

MIB = 1024 * 1024
SAMPLE_S = 0.2
ROOM = 1.10  # of the largest model: the budget. What keeps caches may want a window's whole context beside that.
PROMPT = "The board stands in the kitchen, and what it is asked there is mostly about"


@dataclass(frozen=True)
class Trial:
    """*models* are GGUF files by the name under which they are asked for, and the context of each."""

    models: Mapping[str, tuple[Path, int]]
    requests: int = 200
    callers: int = 4
    tokens: int = 8
    seed: int = 1
    engines: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Found:
    """*arrivals* are models in the order in which they were asked for; *failed* holds what was answered instead."""

    budget_bytes: int = 0
    arrivals: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    sampled_bytes: list[int] = field(default_factory=list)
    loads: int = 0
    took_s: float = 0.0
    predicted_bytes: dict[str, int] = field(default_factory=dict)
    measured_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def loads_by_recency(self) -> int:
        return sum(one != before for one, before in zip(self.arrivals, ["", *self.arrivals], strict=False))

    @property
    def most(self) -> float:
        """Of the budget."""
        return max(self.sampled_bytes, default=0) / self.budget_bytes


async def run(trial: Trial, command: str, folder: Path) -> Found:
    """Everything it needs is in *folder*, which it fills."""
    found = Found()
    models: list[Mapping[str, Any]] = []
    for name, (file, context) in trial.models.items():
        own = folder / f"{name}.gguf"
        await asyncio.to_thread(shutil.copy, file, own)  # of its own: pages that two share would count half
        models.append({"name": name, "file": own.name, "context_tokens": context})
    found.predicted_bytes = await _predicted(trial, command, folder)
    largest, *others = sorted(found.predicted_bytes.values(), reverse=True)
    found.budget_bytes = int(largest * ROOM) // MIB * MIB
    if sum(sorted(others)[:2]) <= found.budget_bytes:
        raise ValueError("two of these models fit together: there would be nothing to swap")
    engines = {"command": command, "memory_mb": found.budget_bytes // MIB, **trial.engines}
    gateway = Gateway(folder, models, engines)
    await gateway.start()
    began = time.monotonic()
    try:
        sampler = asyncio.create_task(_sample(gateway, found))
        await _callers(trial, gateway, found)
        sampler.cancel()
        found.loads = round(await gateway.metric("moltbot_engine_starts_total"))
        for name in trial.models:
            expected = await gateway.metric("moltbot_engine_bytes", model=name, kind="expected")
            found.measured_bytes[name] = int(expected)
    finally:
        found.took_s = time.monotonic() - began
        gateway.stop()
    return found


async def _predicted(trial: Trial, command: str, folder: Path) -> dict[str, int]:
    launcher = Launcher(Engines(command=command), os.environ, logging.getLogger("swapping"))
    return {
        name: (
            await launcher.survey(EngineModel(name, folder / f"{name}.gguf", ("--ctx-size", str(context))))
        ).footprint.total
        for name, (_, context) in trial.models.items()
    }


async def _callers(trial: Trial, gateway: Gateway, found: Found) -> None:
    chance = random.Random(trial.seed)
    names: Sequence[str] = sorted(trial.models)

    async def caller() -> None:
        while len(found.arrivals) < trial.requests:
            name = chance.choice(names)
            number = len(found.arrivals)
            found.arrivals.append(name)
            asked = time.monotonic()
            status, body = await gateway.complete(name, f"{number}. {PROMPT}", trial.tokens)
            found.waits_s.append(time.monotonic() - asked)
            if status != 200 or b'"choices"' not in body:
                found.failed.append(f"{name}: {status} {body[:300].decode(errors='replace')}")

    async with asyncio.TaskGroup() as group:
        for _ in range(trial.callers):
            group.create_task(caller())


async def _sample(gateway: Gateway, found: Found) -> None:
    while True:
        at = time.monotonic()
        found.sampled_bytes.append(await asyncio.to_thread(gateway.engine_bytes))
        await asyncio.sleep(max(0.0, SAMPLE_S - (time.monotonic() - at)))
