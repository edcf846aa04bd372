"""Server-sent events, cut anywhere. Not a client: no reconnection, ids or retry times.

Source: WHATWG HTML, "Interpreting an event stream": lines end with LF, CRLF or CR; an empty line ends an event.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_BLANK_LINE = re.compile(rb"\n\n|\r\n\r\n|\r\r|\n\r\n|\r\n\n")  # an event's end, in every mixture seen
_LINE = re.compile(rb"\r\n|\n|\r")


def parted(data: bytes) -> tuple[bytes, bytes]:
    """*data* as its whole events, the blank line that ends the last of them included, and the beginning of the next."""
    end = data.rfind(b"\n\n") + 2
    if b"\r" in data:
        for blank in _BLANK_LINE.finditer(data, max(end - 2, 0)):
            end = blank.end()
    return (data[:end], data[end:]) if end > 1 else (b"", data)


def data_of(events: bytes) -> Iterator[bytes]:
    """The ``data`` of each of these whole *events*, its lines joined with LF."""
    lines: list[bytes] = []
    for line in _LINE.split(events):
        if not line:
            if lines:
                yield b"\n".join(lines)
                lines.clear()
        elif line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(b"data: ") else line[5:])
    if lines:
        yield b"\n".join(lines)


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def comment(text: str) -> bytes:
    return b": " + text.encode() + b"\n\n"
