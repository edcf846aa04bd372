"""The last lines that a child wrote: kept for the error that explains its end."""

from __future__ import annotations

from collections import deque

KEPT_BYTES = 8 * 1024  # some eighty lines: a loader's complaint and what led to it
LINE_BYTES = 1024  # a longer line is cut: a server may print a whole prompt


class Tail:
    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._lines: deque[str] = deque()
        self._held_bytes = 0
        self._open = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that *data* ends."""
        *whole, rest = (self._open + data).split(b"\n")
        self._open = rest[:LINE_BYTES]
        return [self._keep(line) for line in whole]

    def end(self) -> list[str]:
        """The last line, where nothing ended it."""
        return self.feed(b"\n") if self._open else []

    def lines(self, count: int | None = None) -> list[str]:
        """The last *count* that say something."""
        said = [line for line in self._lines if line.strip()]
        return said if count is None else said[-count:]

    def _keep(self, line: bytes) -> str:
        text = line[:LINE_BYTES].decode("utf-8", "replace").rstrip()
        self._lines.append(text)
        self._held_bytes += len(text) + 1
        while self._held_bytes > self._limit_bytes and len(self._lines) > 1:
            self._held_bytes -= len(self._lines.popleft()) + 1
        return text
