from __future__ import annotations

import io

from supply.progress import LOG_EVERY_S, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_has_one_line_that_changes() -> None:
    clock, shown = Clock(), Terminal()
    with Progress("model", 80_000_000, stream=shown, clock=clock) as progress:
        for second in range(1, 5):
            clock.now = second
            progress.at(second * 20_000_000)
    text = shown.getvalue()
    assert "50%  40.0 of 80.0 MB  20.0 MB/s" in text
    assert text.endswith("100%  80.0 MB  4 s\x1b[K\n")
    assert text.count("\n") == 1


def test_a_log_has_a_line_every_few_seconds() -> None:
    clock, shown = Clock(), io.StringIO()
    with Progress("model", 400_000_000, stream=shown, clock=clock) as progress:
        for tenth in range(1, 201):
            clock.now = tenth / 10
            progress.at(tenth * 2_000_000)
    lines = shown.getvalue().splitlines()
    assert len(lines) == 20 // LOG_EVERY_S + 1  # the first after a second, the last when it is over
    assert "\r" not in shown.getvalue()
    assert lines[-1].endswith("100%  400.0 MB  20 s")


def test_what_is_over_in_a_moment_is_not_mentioned() -> None:
    clock, shown = Clock(), Terminal()
    with Progress("model", 100, stream=shown, clock=clock) as progress:
        for done in range(100):
            clock.now = done / 1000
            progress.at(done)
    assert shown.getvalue() == ""


def test_a_registry_that_says_nothing_is_waited_for_aloud() -> None:
    clock, shown = Clock(), io.StringIO()
    with Progress("model", 100, stream=shown, clock=clock) as progress:
        clock.now = 7
        progress.at(0)
    assert "waiting for the package registry  7 s" in shown.getvalue()


def test_steps_are_counted_as_they_become_known() -> None:
    clock, shown = Clock(), io.StringIO()
    with Progress("building", 0, "steps", stream=shown, clock=clock) as progress:
        clock.now = 90
        progress.at(104, 208)
    assert "50%  step 104 of 208  90 s" in shown.getvalue()


def test_an_interrupted_wait_leaves_the_cursor_on_a_new_line() -> None:
    clock, shown = Clock(), Terminal()
    try:
        with Progress("model", 100, stream=shown, clock=clock) as progress:
            clock.now = 2
            progress.at(50)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert shown.getvalue().endswith("\n")
