"""What a reply of OpenAI's Responses says of itself: tokens, and how fast a ``llama-server`` was. Read in passing.

Usage stands in the last event of a stream, or at the end of a whole reply.
"""

from __future__ import annotations

from typing import Final

import msgspec

from moltbot_edge.core import sse
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.events import Timings, Usage

READ_BYTES: Final = 4 * 1024 * 1024  # of a whole reply; one that is larger is not counted
# What nobody counts or measures is not believed: sums are made of it, and routes.
MOST_TOKENS: Final = 10**9
LEAST_RATE: Final = 1e-3  # tokens a second
MOST_RATE: Final = 1e7

# Within a text the quotes would be escaped; the event's name stands bare.
_ENDS: Final = (b"response.completed", b"response.incomplete")


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class UsageWire(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    def canonical(self) -> Usage:
        cached = 0 if self.input_tokens_details is None else _tokens(self.input_tokens_details.cached_tokens)
        read = _tokens(self.input_tokens)
        return Usage(read, _tokens(self.output_tokens), min(cached, read))

    def cache_write_tokens(self) -> int | None:
        said = None if self.input_tokens_details is None else self.input_tokens_details.cache_write_tokens
        return None if said is None else _tokens(said)

    def reasoning_tokens(self) -> int | None:
        said = None if self.output_tokens_details is None else self.output_tokens_details.reasoning_tokens
        return None if said is None else _tokens(said)


class TimingsWire(msgspec.Struct):
    """``llama-server``'s own."""

    predicted_n: int | None = None
    prompt_per_second: float | None = None
    predicted_per_second: float | None = None

    def canonical(self) -> Timings:
        # The time of a single token is from its end to its end: a million a second.
        written_per_second = None if self.predicted_n == 1 else self.predicted_per_second
        return Timings(_rate(self.prompt_per_second), _rate(written_per_second))


class _Response(msgspec.Struct):
    usage: UsageWire | None = None


class _Said(msgspec.Struct):
    usage: UsageWire | None = None
    response: _Response | None = None
    timings: TimingsWire | None = None


_said = msgspec.json.Decoder(_Said).decode


class UsageReader:
    usage: Usage | None = None
    timings: Timings | None = None

    def __init__(self, streamed: bool) -> None:
        self._streamed = streamed
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        if self._streamed:
            if any(end in data for end in _ENDS):
                for one in sse.data_of(data):
                    self._keep(one)
            return
        self._size += len(data)
        if self._size <= READ_BYTES:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    def end(self) -> None:
        if self._pieces:
            self._keep(b"".join(self._pieces))
            self._pieces.clear()

    def _keep(self, data: bytes) -> None:
        try:
            said = _said(data)
        except UNREADABLE:
            return  # an event that is none of ours to judge
        usage = said.usage or (None if said.response is None else said.response.usage)
        if usage is not None:
            self.usage = usage.canonical()
        if said.timings is not None:
            self.timings = said.timings.canonical()


def _tokens(said: int | None) -> int:
    return min(max(said or 0, 0), MOST_TOKENS)


def _rate(said: float | None) -> float:
    return said if said is not None and LEAST_RATE <= said <= MOST_RATE else 0.0
