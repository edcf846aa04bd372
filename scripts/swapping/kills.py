"""A gateway is killed while engines load and answer, again and again; the next one has to serve."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swapping.gateway import Gateway

GONE_S = 10.0  # for the kernel to tell the engines, and for them to end
LONG = 200  # tokens: a reply that is under way when the gateway is killed
PROMPT = "Tell me everything about the sea:"


@dataclass
class Kills:
    """*left* are processes that outlived their gateway, *unserved* what the next one answered instead."""

    times: int = 0
    in_mid_reply: int = 0
    left: list[str] = field(default_factory=list)
    unserved: list[str] = field(default_factory=list)


async def run(
    models: list[Mapping[str, Any]], command: str, folder: Path, times: int, engines: Mapping[str, Any]
) -> Kills:
    """*models* are entries of `model_registry`, whose files are in *folder*."""
    found, chance = Kills(), random.Random(times)
    gateway = Gateway(folder, models, {"command": command, **engines})
    for _ in range(times):
        await gateway.start()
        first = str(models[found.times % len(models)]["name"])
        status, body = await gateway.complete(first, PROMPT, 2)
        if status != 200:
            found.unserved.append(f"{status} {body[:300].decode(errors='replace')}")
        asked = [
            asyncio.create_task(gateway.complete(str(model["name"]), PROMPT, LONG, stream=True)) for model in models * 2
        ]
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        engines_then = [pid for pid in _below(gateway.pid) if pid != gateway.pid]
        gateway.kill()
        found.times += 1
        found.in_mid_reply += any(not one.done() for one in asked)
        found.left += await _left(engines_then, folder)
        await asyncio.gather(*asked)
    await gateway.start()  # once more, to be ended as one ends it
    status, body = await gateway.complete(str(models[0]["name"]), PROMPT, 2)
    if status != 200:
        found.unserved.append(f"at the end: {status} {body[:300].decode(errors='replace')}")
    gateway.stop()
    found.left += await _left([], folder)
    return found


async def _left(pids: list[int], folder: Path) -> list[str]:
    """Of *pids*, and of all that serves a file in *folder*, what still lives."""
    try:
        async with asyncio.timeout(GONE_S):
            while _living(pids, folder):  # noqa: ASYNC110  (the kernel tells nobody)
                await asyncio.sleep(0.02)
    except TimeoutError:
        return [f"{pid} {' '.join(_words(pid))[:120]}" for pid in _living(pids, folder)]
    return []


def _living(pids: list[int], folder: Path) -> list[int]:
    everybody = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    serving = [pid for pid in everybody if any(word.startswith(f"{folder}/") for word in _words(pid)[1:])]
    return [pid for pid in {*pids, *serving} if _words(pid)]


def _words(pid: int) -> list[str]:
    """Of its command; none where it has ended, though nobody has counted it yet."""
    try:
        return [word for word in Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0") if word]
    except OSError:
        return []


def _below(pid: int) -> list[int]:
    from moltbot_edge.local.memory import Memory

    return Memory().family(pid)
