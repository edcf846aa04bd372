"""The canonical embeddings: texts, and the vectors that a reply has for them. As `chat` and `reply` are.

A vector stays the JSON text that it came as: nobody here calculates with it, and a number that is read and written
again may not be the same text.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is None was not said. *inputs* are in order, and so are a reply's vectors.

    *truncate* says what becomes of a text that is too long: its beginning is taken, or the request refused. *base64*
    is how the caller wants its vectors. *loads_only*: there is no text; the model shall be in memory. *extras*,
    *origin* and *vital* are as in `core.chat.ChatRequest`.
    """

    model: str
    inputs: tuple[str, ...]
    dimensions: int | None = None
    truncate: bool | None = None
    base64: bool = False
    keep_alive: float | None = None
    user: str | None = None
    extras: Mapping[str, bytes] = {}
    origin: str | None = None
    vital: tuple[str, ...] = ()
    loads_only: bool = False


class Embedded(msgspec.Struct, frozen=True):
    """A whole reply. Each of *vectors* is the JSON text of an array of numbers; *input_tokens* None: not said."""

    vectors: tuple[bytes, ...]
    model: str | None = None
    input_tokens: int | None = None
