"""What memory the machine has to give, and what a process takes of it. Read from ``/proc`` and ``/sys``.

A process's share is its PSS: a page that several map counts in parts, so that sums are right; mapped weights count.
Sources: ``proc(5)``; the kernel's ``cgroup-v2.rst``; what a control group has free counts its clean file pages, which
the kernel gives back before it kills anything. A Jetson's GPU has no memory of its own: there is one number, and
what CUDA takes is missing from MemAvailable and from no process's PSS.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

KIB = 1024


class Share(msgspec.Struct, frozen=True):
    """Bytes of one or several processes. *mapped* are file pages, which `available` counts as free.

    *others* is what is counted to other processes, and to these once those have gone.
    """

    pss: int = 0
    mapped: int = 0
    others: int = 0

    def __add__(self, other: Share) -> Share:
        return Share(self.pss + other.pss, self.mapped + other.mapped, self.others + other.others)


class Memory:
    """*root* is where ``/proc`` and ``/sys`` are."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._group: Path | None = None

    def available(self) -> int:
        """Bytes that could be taken without swapping: of the machine, and of each control group above us."""
        machine = _fields(self._root / "proc/meminfo").get("MemAvailable")
        if machine is None:  # without /proc, sysinfo(2): what is free, without what the kernel would give back
            machine = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return max(0, min((machine, *self._groups_free())))

    def share(self, pids: Iterable[int]) -> Share:
        """Nothing of what has ended. Walks page tables, some 20 ms for 4 GiB: not on the event loop."""
        total = Share()
        for pid in pids:
            said = _fields(self._root / f"proc/{pid}/smaps_rollup")
            pss = said.get("Pss", 0)
            total += Share(pss, said.get("Pss_File", 0), max(0, said.get("Rss", 0) - pss))
        return total

    def read_bytes(self, pid: int) -> int:
        """How far a model has come into a process: what it read, or touched of what it mapped."""
        try:
            read = int((self._root / f"proc/{pid}/io").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            read = 0
        return max(read, _fields(self._root / f"proc/{pid}/status").get("RssFile", 0))

    def family(self, pid: int) -> list[int]:
        """*pid* and what it started, and what that did, as far as it lives."""
        found = [pid]
        for one in found:
            for task in _folder(self._root / f"proc/{one}/task"):
                found += [int(word) for word in _text(task / "children").split()]
        return found

    def _groups_free(self) -> list[int]:
        mount = self._root / "sys/fs/cgroup"
        own = next(
            (
                line.removeprefix("0::/")
                for line in _text(self._root / "proc/self/cgroup").splitlines()
                if line.startswith("0::/")
            ),
            "",
        )
        free = []
        for folder in (mount / own, *(mount / own).parents):
            limit, used = _text(folder / "memory.max").strip(), _text(folder / "memory.current").strip()
            if limit.isdigit() and used.isdigit():
                told = _words(folder / "memory.stat")  # weights that were used twice are active, as in MemAvailable
                clean = told.get("inactive_file", 0) + told.get("active_file", 0)
                free.append(int(limit) - int(used) + clean)
            if folder == mount:
                break
        return free


def budget_bytes(memory_mb: int | None, available: int, reserve_percent: float) -> int:
    """What the user said, or what there is now without the share that stays the machine's."""
    if memory_mb is not None:
        return memory_mb * KIB * KIB
    return int(available * (1 - reserve_percent / 100))


def _fields(file: Path) -> dict[str, int]:
    """``MemAvailable:   123 kB`` as bytes; lines of other forms are left out."""
    found = {}
    for line in _text(file).splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            found[name] = int(words[0]) * KIB
    return found


def _words(file: Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(file).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _folder(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
