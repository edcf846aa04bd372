"""What surrounds a turn's record where it is kept: a checksum, because cards forget bits, and less room.

A turn of 1 KiB takes 700 bytes by zlib, and on a disk each page that is not written counts twice: in the log and in its
place. What does not become smaller is kept as it is.
"""

from __future__ import annotations

import zlib
from binascii import crc32
from typing import Final

from moltbot_edge.core import record
from moltbot_edge.core.record import Unreadable
from moltbot_edge.core.session import Turn

PLAIN, PACKED = b"p", b"z"
LEVEL: Final = 6  # of 1 KiB in 40 us, off the event loop
WORTH_BYTES: Final = 256
LARGEST_BYTES: Final = 256 * 1024 * 1024  # unpacked: eight times what a request's body may have
HEAD_BYTES: Final = 5


def sealed(turn: Turn) -> bytes:
    body = record.written(turn)
    kind = PLAIN
    if len(body) >= WORTH_BYTES:
        packed = zlib.compress(body, LEVEL)
        if len(packed) < len(body):
            kind, body = PACKED, packed
    return kind + crc32(body).to_bytes(4, "big") + body


def opened(kept: bytes) -> Turn:
    """Raises `Unreadable`."""
    kind, check, body = kept[:1], kept[1:HEAD_BYTES], kept[HEAD_BYTES:]
    if kind not in (PLAIN, PACKED) or int.from_bytes(check, "big") != crc32(body):
        raise Unreadable("its checksum is not that of its bytes")
    if kind == PACKED:
        unpacking = zlib.decompressobj()
        try:
            body = unpacking.decompress(body, LARGEST_BYTES)
        except zlib.error as error:
            raise Unreadable(str(error)) from error
        if not unpacking.eof:
            raise Unreadable("it is cut off, or far larger than any turn")
    return record.read(body)
