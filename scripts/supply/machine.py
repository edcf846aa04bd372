"""What this machine can run: its architecture, its C library, what its processor says of itself."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    architecture: str  # as uname says it
    glibc: tuple[int, int] | None  # None: another C library
    cpu: frozenset[str]  # words of /proc/cpuinfo: "flags" on x86, "Features" on ARM
    cores: int = 1
    memory_bytes: int = 0  # what can be had now without swapping


def this_machine() -> Machine:
    return Machine(
        architecture=platform.machine(),
        glibc=_glibc(),
        cpu=frozenset(_cpu_words(Path("/proc/cpuinfo").read_text())),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=_available_bytes(Path("/proc/meminfo").read_text()),
    )


def _glibc() -> tuple[int, int] | None:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):  # musl knows no such name
        return None
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if name == "glibc" else None


def _cpu_words(cpuinfo: str) -> Iterator[str]:
    for line in cpuinfo.splitlines():
        name, _, words = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            yield from words.split()
            return  # the other cores say the same


def _available_bytes(meminfo: str) -> int:
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
