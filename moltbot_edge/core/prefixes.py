"""How much of a prompt went to a deployment before: what it may still hold in its prompt cache.

Bodies are compared at fixed lengths by checksums, each of which goes on from the one before, so that a body is read
once and nothing of it is kept. A conversation's next request begins with the bytes of the last one.
"""

from __future__ import annotations

import re
from binascii import crc32
from collections.abc import Sequence

FIRST_BYTES = 256  # shorter beginnings are in every prompt of a client
GROWTH = 1.125  # between two lengths: what was cached is known to an eighth
LAST_BYTES = 256 * 1024
KEPT_MARKS = 512  # of a deployment: ten long conversations

# From the first message to the end of the first one that a user wrote, or to a brace in it: the same at every turn.
_OPENING = re.compile(rb'"(?:messages|input|prompt)".*?(?:"user"[^}]*\}|\Z)', re.DOTALL)
OPENING_BYTES = 64 * 1024


def _lengths() -> tuple[int, ...]:
    lengths = [FIRST_BYTES]
    while lengths[-1] * GROWTH <= LAST_BYTES:
        lengths.append(int(lengths[-1] * GROWTH))
    return tuple(lengths)


LENGTHS = _lengths()


def marks(body: bytes | bytearray) -> tuple[int, ...]:
    """One for each of `LENGTHS` that *body* has."""
    size = len(body)
    if size < FIRST_BYTES:
        return ()
    found: list[int] = []
    view = memoryview(body)
    mark = begin = 0
    for end in LENGTHS:
        if end > size:
            break
        mark = crc32(view[begin:end], mark)
        found.append(mark)
        begin = end
    return tuple(found)


def opening(body: bytes | bytearray) -> bytes:
    """What begins a conversation, system prompt and first question: the same in each of its requests."""
    found = _OPENING.search(body[:OPENING_BYTES])
    return bytes(found[0] if found else body[:OPENING_BYTES])


class Prefixes:
    """The marks of what one deployment was sent, the least recently sent forgotten first."""

    def __init__(self, limit: int = KEPT_MARKS) -> None:
        self._limit = limit
        self._marks: dict[int, None] = {}

    def seen_bytes(self, of: Sequence[int]) -> int:
        """How long the beginning is that went there before."""
        known = self._marks
        for place in range(len(of) - 1, -1, -1):
            if of[place] in known:
                return LENGTHS[place]
        return 0

    def keep(self, of: Sequence[int]) -> None:
        known = self._marks
        for mark in of:
            known.pop(mark, None)
            known[mark] = None
        while len(known) > self._limit:
            del known[next(iter(known))]
