from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from qemu.machine import trial
from qemu.machine.trial import Trial, check, judged
from qemu.machine.verdict import Failed, Log, Verdict, verdict_of


@pytest.fixture(autouse=True)
def _logs_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "LOGS", tmp_path)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program"
    file.write_bytes(b"\x7fELF" + bytes(14) + b"\xb7\x00")
    return file


def test_a_trial_that_goes_well_leaves_its_facts(program: Path) -> None:
    verdict, log = judged("board 4k", Trial(program), lambda trial, log: "served", 60)
    assert (str(verdict), verdict.status) == ("PASS board 4k: served", 0)
    assert verdict_of(log.read_text()) == verdict


def test_a_trial_that_takes_too_long_or_is_told_to_end_leaves_a_verdict(tmp_path: Path, program: Path) -> None:
    def waits(trial: Trial, log: Log) -> str:
        time.sleep(60)
        return "slept"

    def is_told_to_end(trial: Trial, log: Log) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return waits(trial, log)

    late, _ = judged("board 4k", Trial(program), waits, 0.05)
    assert str(late) == "FAIL board 4k because it took longer than 0 s"
    with pytest.raises(SystemExit, match="143"):
        judged("board 4k", Trial(program), is_told_to_end, 60)
    assert verdict_of((tmp_path / "board-4k.log").read_text()) == Verdict("board 4k", False, "it was ended by SIGTERM")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_file_that_no_such_board_runs_is_said_before_anything_boots(tmp_path: Path, program: Path) -> None:
    check(program)
    with pytest.raises(Failed, match="scripts/build --arch aarch64 makes"):
        check(tmp_path / "nothing")
    with pytest.raises(Failed, match="is no program for 64-bit ARM"):
        check(Path("/proc/self/exe") if os.uname().machine != "aarch64" else Path(__file__))


def test_a_disk_that_is_full_is_a_verdict_too(program: Path) -> None:
    def fills(trial: Trial, log: Log) -> str:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")
        return "written"

    verdict, _ = judged("board 4k", Trial(program), fills, 60)
    assert str(verdict) == "FAIL board 4k because OSError: [Errno 28] No space left on device"
