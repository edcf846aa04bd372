"""How much of a prompt went to a deployment before: what it may still hold in its prompt cache.

Bodies are compared at fixed lengths by checksums, each of which goes on from the one before, so that a body is read
once and nothing of it is kept. A conversation's next request begins with the bytes of the last one, from the messages
on, and goes on with what was answered.
"""

from __future__ import annotations

import itertools
import re
from binascii import crc32
from collections.abc import Iterable, Sequence

Buffer = bytes | bytearray | memoryview

FIRST_BYTES = 256  # shorter beginnings are in every prompt of a client
GROWTH = 1.125  # between two lengths: what was cached is known to an eighth
LAST_BYTES = 256 * 1024
HEAD_BYTES = 1024  # in which other fields may stand before the messages, such as a limit that changes
KEPT_MARKS = 512  # of a deployment: ten long conversations

# From the first message to the end of the first one that a user wrote, or to a brace in it: the same at every turn.
# After the first "user" it cannot fail: else each other one would be tried, and each to the end.
_OPENING = re.compile(rb'"(?:messages|input|prompt)".*?(?:"user"[^}]*\}?|\Z)', re.DOTALL)
OPENING_BYTES = 64 * 1024


def _lengths() -> tuple[int, ...]:
    lengths = [FIRST_BYTES]
    while lengths[-1] * GROWTH <= LAST_BYTES:
        lengths.append(int(lengths[-1] * GROWTH))
    return tuple(lengths)


LENGTHS = _lengths()

TRAIL_MESSAGES = 512  # of a conversation; a longer one is told from others by these
_END_BITS = 32


def marks(body: bytes | bytearray) -> tuple[int, ...]:
    """One for each of `LENGTHS` that *body* has, from its messages on."""
    if len(body) < FIRST_BYTES:
        return ()
    found: list[int] = []
    view = memoryview(body)[max(body.find(b'"messages"', 0, HEAD_BYTES), 0) :]
    size = len(view)
    mark = begin = 0
    for end in LENGTHS:
        if end > size:
            break
        mark = crc32(view[begin:end], mark)
        found.append(mark)
        begin = end
    return tuple(found)


def trail(messages: Iterable[Buffer], seed: int = 0) -> tuple[int, ...]:
    """One mark for each of *messages*, which stands for all up to its end and says where that is: `end_of`.

    For an engine of this board, where a conversation is to be found again to the message. *seed* is of what stands
    before all messages, such as tools: nothing that follows other tools is the same.
    """
    marks: list[int] = []
    mark, end = seed, 0
    for message in itertools.islice(messages, TRAIL_MESSAGES):
        mark = crc32(message, mark)
        end += memoryview(message).nbytes
        marks.append(end << _END_BITS | mark)
    return tuple(marks)


def end_of(mark: int) -> int:
    """How many bytes a mark of a `trail` stands for."""
    return mark >> _END_BITS


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many marks both begin with."""
    count = 0
    for mine, yours in zip(one, other, strict=False):
        if mine != yours:
            break
        count += 1
    return count


def opening(body: bytes | bytearray) -> bytes:
    """What begins a conversation, system prompt and first question: the same in each of its requests."""
    found = _OPENING.search(body[:OPENING_BYTES])
    return bytes(found[0] if found else body[:OPENING_BYTES])


class Prefixes:
    """The marks of what one deployment was sent, each with how many bytes it stands for; the oldest is forgotten first.

    A body's last mark stands for all of it: whoever begins as far as that most likely goes on with the rest.
    """

    def __init__(self, limit: int = KEPT_MARKS) -> None:
        self._limit = limit
        self._bytes: dict[int, int] = {}

    def seen_bytes(self, of: Sequence[int]) -> int:
        """How long the beginning is that went there before."""
        known = self._bytes
        for mark in reversed(of):
            if mark in known:
                return known[mark]
        return 0

    def keep(self, of: Sequence[int], body_bytes: int) -> None:
        """*of* is not empty."""
        known = self._bytes
        for mark, length in zip(of, LENGTHS, strict=False):
            known.pop(mark, None)
            known[mark] = length
        known[of[-1]] = body_bytes
        while len(known) > self._limit:
            del known[next(iter(known))]

    def answered(self, mark: int, reply_bytes: int) -> None:
        """The body with this last mark was: the next one will hold the reply as well."""
        if mark in self._bytes:
            self._bytes[mark] += reply_bytes
