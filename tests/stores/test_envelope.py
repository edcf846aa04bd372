"""What surrounds a turn where it is kept: short ones as they are, longer ones packed, and both are read."""

from __future__ import annotations

import zlib
from binascii import crc32

import pytest

from moltbot_edge.core import record
from moltbot_edge.core.chat import Message, Role, Text
from moltbot_edge.core.session import Turn
from moltbot_edge.stores import envelope


def turn(words: int) -> Turn:
    said = Message(Role.USER, (Text(text="and so it is " * words),))
    return Turn(id="01m8", at=1.0, messages=(said,), reply=Message(Role.ASSISTANT, (Text(text="yes"),)))


@pytest.mark.parametrize("words", [1, 80, 400, 40_000])
def test_a_turn_comes_back(words: int) -> None:
    assert envelope.opened(envelope.sealed(turn(words))) == turn(words)


def test_a_long_turn_takes_less_room_than_its_record() -> None:
    assert len(envelope.sealed(turn(400))) < len(record.written(turn(400))) / 2


def test_a_short_turn_that_was_packed_is_read() -> None:
    packing = zlib.compressobj(3, zlib.DEFLATED, -12, 5, zdict=envelope.KNOWN)
    packed = packing.compress(record.written(turn(40))) + packing.flush()
    assert envelope.opened(envelope.PACKED + crc32(packed).to_bytes(4, "big") + packed) == turn(40)
