"""What memory there is, by files as the kernel writes them, and by real processes."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

from moltbot_edge.local.memory import Memory, Share, budget_bytes

MIB = 1024 * 1024
GROUP = "sys/fs/cgroup/system.slice/gateway.service"


def machine(root: Path, **files: str) -> Memory:
    """*files* by the last part of their paths; the group's unless it is one of these."""
    known = {"meminfo": "proc/meminfo", "cgroup": "proc/self/cgroup"}
    for name, text in files.items():
        path = root / known.get(name, f"{GROUP}/memory.{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Memory(root)


MEMINFO = "MemTotal:        8000000 kB\nMemFree:   100 kB\nMemAvailable:    4194304 kB\nHugePages_Total:       0\n"


def test_what_is_available_is_what_the_machine_says(tmp_path: Path) -> None:
    assert machine(tmp_path, meminfo=MEMINFO).available() == 4096 * MIB
    assert machine(tmp_path, cgroup="0::/system.slice/gateway.service\n", max="max\n").available() == 4096 * MIB


def test_a_control_group_may_grant_less_and_its_clean_pages_are_free(tmp_path: Path) -> None:
    given = {"max": str(1000 * MIB), "current": str(700 * MIB), "stat": "anon 5\n"}
    given["stat"] += f"inactive_file {100 * MIB}\nactive_file {200 * MIB}\n"  # the weights of an engine are active
    memory = machine(tmp_path, meminfo=MEMINFO, cgroup="0::/system.slice/gateway.service\n", **given)
    assert memory.available() == 600 * MIB
    above = tmp_path / "sys/fs/cgroup/system.slice"
    (above / "memory.max").write_text(str(500 * MIB))
    (above / "memory.current").write_text(str(480 * MIB))
    assert memory.available() == 20 * MIB


def test_without_proc_the_kernel_is_asked_itself(tmp_path: Path) -> None:
    assert 0 < Memory(tmp_path).available() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_the_budget_is_what_was_said_or_leaves_a_reserve() -> None:
    assert budget_bytes(3000, 8000 * MIB, 20) == 3000 * MIB
    assert budget_bytes(None, 8000 * MIB, 20) == 6400 * MIB


def test_a_process_takes_what_it_holds_and_what_it_maps(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * 32 * MIB)
    source = (
        "import mmap, sys; held = bytearray(b'x' * 16 * 1024 * 1024);"
        "file = open(sys.argv[1], 'rb'); mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ);"
        "sum(mapped[at] for at in range(0, len(mapped), 4096)); print('up', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-IS", "-c", source, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        memory = Memory()
        share = memory.share([process.pid])
        assert share.pss >= 48 * MIB
        assert 32 * MIB <= share.mapped < 48 * MIB
        assert memory.read_bytes(process.pid) >= 32 * MIB
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as also:
            assert sum(also[at] for at in range(0, len(also), 4096)) > 0
            less = memory.share([process.pid])
            assert less.pss < share.pss - 10 * MIB  # half of each page is ours now
            assert less.pss + less.others >= 48 * MIB  # and theirs again once we have gone
    assert memory.share([process.pid]) == Share()


def test_a_family_is_all_that_a_process_started() -> None:
    source = "import os, sys; pid = os.fork(); pid and print(pid, flush=True); sys.stdin.read()"
    command = [sys.executable, "-IS", "-c", source]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        below = int(process.stdout.readline())
        assert Memory().family(process.pid) == [process.pid, below]
        assert {process.pid, below} <= set(Memory().family(os.getpid()))
