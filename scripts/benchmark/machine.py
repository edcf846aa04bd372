"""The machine and how busy it was: without this a table cannot be compared with another."""

from __future__ import annotations

import os
import platform
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from . import measure

# 1,500 clients need as many descriptors in the load and the stub, and twice as many in a target.
OPEN_FILES = 16_384


@dataclass(frozen=True)
class Machine:
    cpu: str
    architecture: str
    cores: int
    kernel: str
    python: str
    load_average: float
    own_loopback: bool

    @classmethod
    def here(cls, own_loopback: bool) -> Machine:
        return cls(
            cpu=_cpu_model(),
            architecture=platform.machine(),
            cores=len(os.sched_getaffinity(0)),
            kernel=platform.release(),
            python=platform.python_version(),
            load_average=os.getloadavg()[0],
            own_loopback=own_loopback,
        )


def _cpu_model() -> str:
    # x86 says "model name"; ARM says only part numbers there, but a board's device tree has its name.
    board = Path("/proc/device-tree/model")
    if board.exists():
        return board.read_text().rstrip("\0\n")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def raise_open_files() -> int:
    """As many as are wanted, or as many as the hard limit allows; said back."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


class Elsewhere:
    """How much of the machine others used meanwhile. Right once all children have ended and been waited for."""

    def __init__(self) -> None:
        self._began, self._busy_us, self._own_us = time.monotonic(), measure.busy_us(), _own_us()

    def share(self) -> float:
        others_us = (measure.busy_us() - self._busy_us) - (_own_us() - self._own_us)
        return max(others_us, 0.0) / ((time.monotonic() - self._began) * 1e6 * (os.cpu_count() or 1))


def _own_us() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) * 1e6
