"""A vector as numbers, as base64 and as JSON text: what the embeddings of several dialects need. Pure.

Source: OpenAI's ``encoding_format``, whose base64 is of 32-bit floats, little-endian.
"""

from __future__ import annotations

import base64
import struct

import msgspec

from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidReply

_numbers = msgspec.json.Decoder(list[float]).decode
_text = msgspec.json.Decoder(str).decode


def vector(said: msgspec.Raw) -> bytes:
    """A vector of a reply, in either form, as its JSON text. Raises `InvalidReply` for what is none."""
    text = bytes(said)
    try:
        if text[:1] == b'"':
            packed = base64.b64decode(_text(text), validate=True)
            text = msgspec.json.encode(list(struct.unpack(f"<{len(packed) // 4}f", packed)))
        _numbers(text)  # one that is not a number became null
    except (*UNREADABLE, ValueError, struct.error) as error:
        raise InvalidReply(f"the upstream sent a vector that is none: {error}") from error
    return text


def in_base64(text: bytes) -> str:
    """*text* is a vector's JSON text. Raises `InvalidReply` for a number that 32 bits cannot hold."""
    numbers = _numbers(text)
    try:
        packed = struct.pack(f"<{len(numbers)}f", *numbers)
    except OverflowError as error:
        raise InvalidReply(f"the upstream sent a vector that is none: {error}") from error
    return base64.b64encode(packed).decode()
