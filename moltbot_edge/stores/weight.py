"""What turns take in memory, which is what one session is bounded by: a gateway reads all of it for each request.

Not what they take where they are kept: a thousand times the same word packs into a few bytes there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

import msgspec

from moltbot_edge.core.chat import Message, Text, Tool
from moltbot_edge.core.session import Turn

TURN_BYTES: Final = 600  # of the objects around a turn, measured
MESSAGE_BYTES: Final = 200
TEXT_BYTES: Final = 56  # beside the text itself: a message may have a hundred thousand


def weight_bytes(turns: Iterable[Turn]) -> int:
    """What they take in memory: a text with one sign of another script takes up to four times its bytes on the disk."""
    return sum(
        TURN_BYTES + _said((*turn.messages, turn.reply, *(turn.system or ()))) + sum(map(_held, turn.tools or ()))
        for turn in turns
    )


def _said(messages: Iterable[Message]) -> int:
    total = 0
    for message in messages:
        total += MESSAGE_BYTES
        for part in message.parts:
            total += TEXT_BYTES + sys.getsizeof(part.text) if type(part) is Text else _held(part)
    return total


def _held(value: msgspec.Struct | Tool) -> int:
    total = MESSAGE_BYTES
    for held in msgspec.structs.astuple(value):
        if isinstance(held, tuple):
            total += sum(map(_held, held))
        elif isinstance(held, str | bytes):
            total += sys.getsizeof(held)
    return total
