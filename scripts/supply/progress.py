"""How far a wait is: one line that changes on a terminal, a line every few seconds elsewhere.

Nothing is shown of what is over within a second.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, TextIO

QUIET_S = 1.0
TERMINAL_EVERY_S = 0.1
LOG_EVERY_S = 5.0
BAR_CELLS = 24

Unit = Literal["MB", "steps"]


class Progress:
    """*total* is in bytes where *unit* is MB. A context manager: the line is closed however the wait ends."""

    def __init__(
        self,
        what: str,
        total: int,
        unit: Unit = "MB",
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._clock = clock
        self._begun = clock()
        self._shown_at = self._begun + QUIET_S - (TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S)
        self._done = 0
        self._shown: int | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:
            if self._shown != self._done:
                self._write(self._clock())
            if self._terminal:
                self._stream.write("\n")
                self._stream.flush()

    def at(self, done: int, total: int | None = None) -> None:
        """Say how much is done; seldom enough to be called for every block."""
        self._done = done
        if total is not None:
            self._total = total
        now = self._clock()
        if now - self._shown_at >= (TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S):
            self._shown_at = now
            self._write(now)

    def more(self, amount: int) -> None:
        self.at(self._done + amount)

    def _write(self, now: float) -> None:
        self._shown = self._done
        line = self._line(now - self._begun)
        self._stream.write(f"\r{line}\x1b[K" if self._terminal else f"{line}\n")
        self._stream.flush()

    def _line(self, elapsed_s: float) -> str:
        share = min(1.0, self._done / self._total) if self._total else 0.0
        bar = ("#" * round(share * BAR_CELLS)).ljust(BAR_CELLS, ".")
        if self._unit == "steps":
            return f"{self._what}  [{bar}] {share:4.0%}  step {self._done} of {self._total}  {elapsed_s:.0f} s"
        if not self._done:
            return f"{self._what}  [{bar}]  waiting for the package registry  {elapsed_s:.0f} s"
        if self._done >= self._total:
            return f"{self._what}  [{bar}] {share:4.0%}  {self._total / 1e6:.1f} MB  {elapsed_s:.0f} s"
        rate = f"{self._done / elapsed_s / 1e6:.1f} MB/s" if elapsed_s else ""
        return f"{self._what}  [{bar}] {share:4.0%}  {self._done / 1e6:.1f} of {self._total / 1e6:.1f} MB  {rate}"
