"""What it costs to go from one model to another, and what models take: for the benchmark.

A *swap*: one model fits, another has the memory; from the request to its first token, its file in the page cache. A
*warm switch*: both run, and the request before went to the other one. *Staying*: it went to the same one. The prompts
are a few words, so that a swap is its load and next to no reading.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from swapping.gateway import Gateway

MIB = 1024 * 1024
PROMPT = "One, two, three,"
SEEN_S = 3.0  # what an engine takes is looked at every second


class Took(msgspec.Struct, frozen=True):
    """Bytes of one engine, as its file and its flags foretold it, and as it was measured after an answer."""

    model: str
    predicted: int
    measured: int


class Found(msgspec.Struct, frozen=True):
    """Seconds of each request."""

    swaps_s: tuple[float, ...]
    switches_s: tuple[float, ...]
    stays_s: tuple[float, ...]
    took: tuple[Took, ...]
    load_average: float


async def run(
    models: Mapping[str, tuple[Path, int]], engine: str, folder: Path, engines: Mapping[str, Any], times: int
) -> Found:
    """*models* are GGUF files by name, with the context of each; everything else is left in *folder*."""
    entries: list[Mapping[str, Any]] = []
    for name, (file, context) in models.items():
        own = folder / f"{name}.gguf"
        await asyncio.to_thread(shutil.copy, file, own)
        entries.append({"name": name, "file": own.name, "context_tokens": context})
    took, (switches, stays) = await _beside(entries, engine, folder, engines, times)
    largest = max(max(one.predicted, one.measured) for one in took)
    one_fits = {**engines, "memory_mb": int(largest * 1.02) // MIB + 1, "min_warm_s": 0.0}
    swaps = await _swaps(entries, engine, folder, one_fits, times)
    return Found(tuple(swaps), tuple(switches), tuple(stays), tuple(took), os.getloadavg()[0])


async def _beside(
    entries: Sequence[Mapping[str, Any]], engine: str, folder: Path, engines: Mapping[str, Any], times: int
) -> tuple[list[Took], tuple[list[float], list[float]]]:
    gateway = Gateway(folder, list(entries), {"command": engine, "memory_mb": 16_000, **engines})
    await gateway.start()
    try:
        names = [str(entry["name"]) for entry in entries]
        for name in names:
            await _first_token_s(gateway, name)
        await asyncio.sleep(SEEN_S)
        took = []
        for name in names:
            predicted, measured = [
                int(await gateway.metric("moltbot_engine_bytes", model=name, kind=kind))
                for kind in ("predicted", "measured")
            ]
            took.append(Took(name, predicted, measured))
        switches, stays = [], []
        for turn in range(times):
            name = names[turn % len(names)]
            switches.append(await _first_token_s(gateway, name))
            stays.append(await _first_token_s(gateway, name))
        return took, (switches, stays)
    finally:
        gateway.stop()


async def _swaps(
    entries: Sequence[Mapping[str, Any]], engine: str, folder: Path, engines: Mapping[str, Any], times: int
) -> list[float]:
    gateway = Gateway(folder, list(entries), {"command": engine, **engines})
    await gateway.start()
    try:
        names = [str(entry["name"]) for entry in entries]
        await _first_token_s(gateway, names[-1])
        return [await _first_token_s(gateway, names[turn % len(names)]) for turn in range(times)]
    finally:
        gateway.stop()


async def _first_token_s(gateway: Gateway, name: str) -> float:
    began = time.monotonic()
    status, body = await gateway.complete(name, PROMPT, 1)
    if status != 200:
        raise RuntimeError(f"{name}: {status} {body[:300].decode(errors='replace')}")
    return time.monotonic() - began


def table(found: Found) -> str:
    lines = [
        "| to the first token | median | least | most | of |",
        "|---|---:|---:|---:|---:|",
        _row("swap: another model has the memory", found.swaps_s),
        _row("warm switch: both run, the other was asked before", found.switches_s),
        _row("staying with the same model", found.stays_s),
        "",
        "| footprint | predicted MiB | measured MiB | of the measured |",
        "|---|---:|---:|---:|",
    ]
    for one in found.took:
        share = one.predicted / one.measured if one.measured else 0.0
        lines.append(f"| {one.model} | {one.predicted / MIB:.0f} | {one.measured / MIB:.0f} | {share:.2f} |")
    return "\n".join([*lines, "", f"load average at the end: {found.load_average:.1f}"])


def _row(what: str, seconds: Sequence[float]) -> str:
    shown = (statistics.median(seconds), min(seconds), max(seconds))
    return f"| {what} | {' | '.join(f'{1000 * one:,.0f} ms' for one in shown)} | {len(seconds)} |"
