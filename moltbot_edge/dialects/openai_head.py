"""The head of a chat request in OpenAI's shape, and what of its form can be seen on the way.

Servers answer what is malformed with a 500, or half understand it: an empty list of messages is a prompt for some. Only
what every server agrees on is checked: a body that is relayed may hold what is its upstream's alone.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from moltbot_edge.core.decoding import MOST_OBJECTS
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.head import Head, Wire, read_head

LARGE_BYTES: Final = 1_000_000


class _Message(msgspec.Struct, gc=False):
    role: Annotated[str, msgspec.Meta(min_length=1)]


class _Object(msgspec.Struct, gc=False):
    pass


class _Chat(Wire, kw_only=True):
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)] | None = None  # without any, every server says so
    tools: list[_Object] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None


_chat = msgspec.json.Decoder(_Chat).decode


def read_chat_head(body: bytes | bytearray) -> Head:
    """Raises `InvalidRequest` that names the field at fault by its path."""
    if len(body) > LARGE_BYTES and body.count(b"{") > MOST_OBJECTS:
        raise InvalidRequest(f"the request has more than {MOST_OBJECTS} JSON objects", param="messages")
    return read_head(body, _chat)
