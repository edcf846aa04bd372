"""Ollama's ``context`` as this gateway gives it: the session and the turn that a reply was, as numbers.

An Ollama's own holds the tokens of a conversation. Ours begins with a number that no vocabulary has, so that neither is
taken for the other. Three bytes each: whatever reads them holds 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.session import ID_CHARS, NAME_CHARS, checked_name, is_id

MAGIC: Final = int.from_bytes(b"MBe1")
_WIDTH: Final = 3
MOST_NUMBERS: Final = 2 + -(-(ID_CHARS + NAME_CHARS) // _WIDTH)

_numbers = msgspec.json.Decoder(list[int]).decode


def written(session: str, turn: str) -> list[int]:
    said = f"{turn}{session}".encode()
    pieces = (said[at : at + _WIDTH] for at in range(0, len(said), _WIDTH))
    return [MAGIC, len(said), *(int.from_bytes(piece) for piece in pieces)]


def read(numbers: Sequence[int]) -> tuple[str, str] | None:
    """The session's name and the turn's id; None for tokens. Raises `InvalidRequest` for what is ours and broken."""
    if not numbers or numbers[0] != MAGIC:
        return None
    try:
        size, *pieces = numbers[1:MOST_NUMBERS]
        widths = [min(_WIDTH, size - _WIDTH * at) for at in range(len(pieces))]
        said = b"".join(piece.to_bytes(width) for piece, width in zip(pieces, widths, strict=True)).decode()
        session, turn = checked_name(said[ID_CHARS:], "context"), said[:ID_CHARS]
        if not is_id(turn) or written(session, turn) != list(numbers):
            raise ValueError
    except (ValueError, OverflowError, InvalidRequest) as error:
        raise InvalidRequest("this context is broken: send it as the reply before had it", param="context") from error
    return session, turn


def of_field(said: msgspec.Raw) -> list[int] | None:
    """A request's field of that name; None where it is absent, or no list of numbers, which others will say."""
    try:
        return _numbers(said) if bytes(said) else None
    except msgspec.DecodeError:
        return None
