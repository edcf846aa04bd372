"""How far a pull has come: one line that changes on a terminal, a line now and then elsewhere. On standard error."""

from __future__ import annotations

import sys
import time

from moltbot_edge.local.pull import Event, Failed, Files, Note, Progress, Pulled

BAR = 24
EVERY_S = 10.0  # between two lines where nobody looks at a terminal
MB = 1_000_000


class Bar:
    """With *silent*, nothing is shown."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent
        self._terminal = sys.stderr.isatty()
        self._shown_at = -EVERY_S
        self._drawn = False

    def show(self, event: Event) -> None:
        if self._silent:
            return
        match event:
            case Files(names, size):
                total = "" if size is None else f", {size / MB:.1f} MB"
                self._line(f"{names[0] if len(names) == 1 else f'{len(names)} files, {names[0]} ..'}{total}")
            case Note(text):
                self._line(text)
            case Progress():
                if self._terminal:
                    print(f"\r\x1b[K{self._bar(event)}", end="", file=sys.stderr, flush=True)
                    self._drawn = True
                elif time.monotonic() - self._shown_at >= EVERY_S:
                    self._shown_at = time.monotonic()
                    self._line(f"{event.name}: {told(event)}")
            case Pulled() | Failed():
                self.clear()

    def clear(self) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._drawn = False

    def _line(self, text: str) -> None:
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def _bar(self, event: Progress) -> str:
        if not event.total_bytes:
            return told(event)
        done = event.bytes * BAR // event.total_bytes
        return f"[{'#' * done}{'.' * (BAR - done)}] {told(event)}"


def told(event: Progress) -> str:
    """``41 %, 40.2 of 98.0 MB, 3.1 MB/s, 0:18 left``"""
    rate = f"{event.bytes_per_s / MB:.1f} MB/s"
    if not event.total_bytes:
        return f"{event.bytes / MB:.1f} MB, {rate}"
    left = ""
    if event.bytes_per_s > 0:
        seconds = round((event.total_bytes - event.bytes) / event.bytes_per_s)
        left = f", {seconds // 60}:{seconds % 60:02} left"
    share = event.bytes * 100 // event.total_bytes
    return f"{share} %, {event.bytes / MB:.1f} of {event.total_bytes / MB:.1f} MB, {rate}{left}"
