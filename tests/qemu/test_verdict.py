from __future__ import annotations

import io
from pathlib import Path

import pytest

from qemu.machine.verdict import Verdict, figures_of, opened, verdict_of


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict("board 4k", True, "served after 1.2 s: 200"),
        Verdict("user cortex-a53", True),
        Verdict("board 16k", False, "the guest said: no"),
    ],
    ids=str,
)
def test_a_verdict_is_read_from_the_last_line_as_it_was_written(tmp_path: Path, verdict: Verdict) -> None:
    with opened(verdict.name, tmp_path, io.StringIO()) as log:
        log.say("booting")
        log.figure("kernel", "6.12.1")
        log.heard("= kernel: another's")
        log.end(verdict)
    text = log.path.read_text()
    assert verdict_of(text) == verdict
    assert figures_of(text) == {"kernel": "6.12.1"}
    assert verdict.status == (0 if verdict.passed else 1)


def test_a_run_that_was_interrupted_has_no_verdict() -> None:
    assert verdict_of("") is None
    assert verdict_of("#    0.1 s  booting\n| PASS board 4k\n") is None


def test_two_runs_of_one_name_have_a_log_each_and_a_later_one_begins_anew(tmp_path: Path) -> None:
    with opened("board 4k", tmp_path) as first, opened("board 4k", tmp_path) as second:
        first.line("of the first")
        second.line("of the second")
    assert (first.path.name, second.path.name) == ("board-4k.log", "board-4k-2.log")
    assert first.path.read_text() == "of the first\n"
    with opened("board 4k", tmp_path) as third:
        pass
    assert third.path == first.path
    assert third.path.read_text() == ""
