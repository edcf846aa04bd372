"""The canonical embeddings: texts -> vectors, as values. Not a wire format."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from moltbot_edge.core.events import Timings, Usage


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """*inputs* are texts, or the tokens of each. *base64* is OpenAI's wish for the vectors' form.

    *keep_alive* and *extras* are as `core.chat.ChatRequest` has them.
    """

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    base64: bool = False
    truncate: bool | None = None
    user: str | None = None
    keep_alive: float | None = None
    extras: Mapping[str, bytes] = {}


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """A vector for each input, in their order."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage | None = None
    timings: Timings | None = None
