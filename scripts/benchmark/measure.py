"""Processor time and memory of a process and its children, read from /proc. Linux only.

CPU time comes from the process's own clock (clock_getcpuclockid(3)): nanoseconds, with the threads that have ended.
/proc/PID/stat counts in hundredths of a second, and /proc/PID/task/*/schedstat forgets threads that ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CPUCLOCK_SCHED = 2  # include/linux/posix-timers_types.h
RESET_PEAK = "5"  # proc(5), clear_refs: VmHWM begins again from the present size
_GONE = (FileNotFoundError, ProcessLookupError)


def tree(pid: int) -> list[int]:
    """*pid* and its descendants, however deep, that are alive now."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(*_GONE):
                stat = Path("/proc", entry, "stat").read_text()
                # the name, in brackets, may hold spaces and brackets; after it come the state and the parent
                parent = int(stat.rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for member in found:
        found.extend(children.get(member, ()))
    return found


def cpu_us(pids: list[int]) -> float:
    """CPU time that they have used since each began, in microseconds."""
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            total += time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED) / 1e3
    return total


@dataclass(frozen=True)
class Memory:
    """Summed over the processes. *rss* counts a page once for each that maps it, *pss* shares it out among them."""

    rss_bytes: int
    pss_bytes: int
    anonymous_bytes: int


def memory(pids: list[int]) -> Memory:
    totals = {"Rss:": 0, "Pss:": 0, "Anonymous:": 0}
    for pid in pids:
        with suppress(*_GONE):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                fields = line.split()
                if fields[0] in totals:
                    totals[fields[0]] += int(fields[1]) * 1024
    return Memory(totals["Rss:"], totals["Pss:"], totals["Anonymous:"])


def reset_peak(pids: list[int]) -> None:
    """Best effort: a kernel without the reset leaves the sampled peak to stand alone."""
    for pid in pids:
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)


def resident_bytes(pids: list[int], field: str = "VmRSS:") -> int:
    """Cheap enough to sample every few milliseconds; with ``VmHWM:`` the peaks, which need not have met."""
    total = 0
    for pid in pids:
        with suppress(*_GONE):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(field):
                    total += int(line.split()[1]) * 1024
    return total


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Whatever is started in here stays on *core*, its later threads and children as well."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Cores:
    """Which core does what. With one core everything shares it, and requests per second mean little."""

    target: int
    stub: int
    load: int

    @classmethod
    def choose(cls, allowed: set[int]) -> Cores:
        *others, target = sorted(allowed)
        return cls(target, stub=(others or [target])[0], load=(others or [target])[-1])


def busy_us() -> float:
    """CPU time that the whole machine was not idle, and what its host took from it, in microseconds.

    proc(5), /proc/stat. Most kernels count the handling of packets (softirq) as time of the process that it interrupts
    as well. One that does not makes the benchmark's own packets look like others' work: under a tenth of the machine.
    """
    user, nice, system, _idle, _iowait, irq, softirq, steal = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) * 1e6 / os.sysconf("SC_CLK_TCK")
