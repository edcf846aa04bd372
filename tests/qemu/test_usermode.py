"""A command under a warden, and what a file says of itself."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from living import killed_at_the_end, lives, until

from qemu.usermode.process import Process
from qemu.usermode.program import NotAProgram, program

# Its second child is an orphan in a session of its own, and tells nobody but the file.
FAMILY = 'sleep 1000 & echo $! >> "$0"; (setsid sleep 1000 & echo $! >> "$0"); echo $$ >> "$0"; wait'
STARTER = """
import os, sys, time
from pathlib import Path
from qemu.usermode.process import Process
with Process(["sh", "-c", sys.argv[1], sys.argv[2]], environment={"PATH": os.defpath}, folder=Path("/")):
    print("begun", flush=True)
    time.sleep(1000)
"""


def started(file: Path) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(pid) for pid in file.read_text().split()]
    return []


@pytest.mark.anyio
async def test_nothing_of_a_command_is_left_when_its_starter_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with killed_at_the_end(STARTER, FAMILY, pids) as said:
        assert said.readline() == b"begun\n"
        await until(lambda: len(started(pids)) == 3)
        assert all(map(lives, started(pids)))
    await until(lambda: not any(map(lives, started(pids))))


@pytest.mark.anyio
async def test_what_a_command_left_behind_lives_until_the_end_and_no_longer(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with Process(["sh", "-c", FAMILY, pids], environment={"PATH": os.defpath}, folder=tmp_path) as process:
        await until(lambda: len(started(pids)) == 3)
        child, orphan, shell = started(pids)
        assert shell == process.pid
        process.signal(signal.SIGKILL)
        assert process.status(within_s=30) == -signal.SIGKILL
        assert lives(child)
        assert lives(orphan)
    assert not lives(child)
    assert not lives(orphan)


def test_a_command_has_the_environment_that_it_was_given_and_no_other(tmp_path: Path) -> None:
    with (tmp_path / "said").open("wb") as said:
        env = ["/usr/bin/env"]
        with Process(env, environment={"A": "1=2"}, folder=tmp_path, stdout=said) as process:
            assert process.status(within_s=30) == 0
    assert (tmp_path / "said").read_text() == "A=1=2\n"


def test_a_command_that_is_not_there_ends_with_the_status_of_shells(tmp_path: Path) -> None:
    with Process(["/no/such"], environment={}, folder=tmp_path) as process:
        assert process.status(within_s=30) == 127


def test_a_program_of_this_machine_is_known_as_one() -> None:
    about = program(Path(sys.executable).resolve())
    assert about.arch == platform.machine()
    assert not about.static


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF" + bytes(60)], ids=["empty", "script", "machine 0"])
def test_what_is_no_program_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(NotAProgram, match=str(file)):
        program(file)


def test_a_file_that_cannot_run_in_an_empty_root_fails_with_the_reason(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "qemu/user"
    words = [sys.executable, str(script), platform.machine(), "native", sys.executable]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (verdict,) = (line for line in done.stdout.splitlines() if line.startswith(("PASS", "FAIL")))
    assert verdict.startswith(f"FAIL user {platform.machine()} native because")
    assert "dynamic loader" in verdict
