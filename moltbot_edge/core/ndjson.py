"""JSON, one value a line, cut anywhere."""

from __future__ import annotations


def parted(data: bytes) -> tuple[bytes, bytes]:
    """*data* as its whole lines, the last one's end included, and the beginning of the next."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]
