"""What machine this is: its board, and how many threads an engine should use. Read from ``/proc`` and ``/sys``.

Two hyper-threads of a core share what matrix products need, and a container's quota is spent sooner with more
threads than it has cores.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from moltbot_edge.local.profile import Board, board

# By what the processor can: GGML's numbers for Q4_0, Q8_0, Q4_K, Q5_K, Q6_K, IQ4_NL, MXFP4. A Pi 4 can none of it.
COPIED: Mapping[str, frozenset[int]] = {
    "avx2": frozenset({2, 12, 20, 39}),
    "asimddp": frozenset({2, 8, 12, 13, 14, 20, 39}),
}


class Machine(msgspec.Struct, frozen=True):
    board: Board
    threads: int


def this_machine(root: Path = Path("/")) -> Machine:
    cores = _cores(root)
    quota = _quota(root)
    return Machine(
        board(_text(root / "proc/device-tree/model")),
        max(1, cores if quota is None else min(cores, math.ceil(quota))),
    )


def laid_out_anew(root: Path = Path("/")) -> frozenset[int]:
    """The GGML types of which an engine makes a copy that suits this processor (``repack.cpp`` of llama.cpp b11434)."""
    said = _text(root / "proc/cpuinfo")
    known = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", said, re.MULTILINE)
    for feature, types in COPIED.items():
        if known is not None and feature in known[1].split():
            return types
    return frozenset()


def _cores(root: Path) -> int:
    """Physical cores that this process may use."""
    usable = os.sched_getaffinity(0)
    siblings = {
        _text(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in usable
    }
    return len(siblings)


def _quota(root: Path) -> float | None:
    """CPUs that the control group grants (``cpu.max``: ``150000 100000``); None where it sets no bound."""
    groups = _text(root / "proc/self/cgroup").splitlines()
    own = next((line.removeprefix("0::/") for line in groups if line.startswith("0::/")), "")
    mount = root / "sys/fs/cgroup"
    bounds = []
    for folder in (mount / own, *(mount / own).parents):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            bounds.append(int(quota) / int(period))
        if folder == mount:
            break
    return min(bounds, default=None)


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip().strip("\0")
    except OSError:
        return ""
