"""What a reply in OpenAI's shape counts and measures. ``timings`` are llama-server's own."""

from __future__ import annotations

from typing import Final

import msgspec

from moltbot_edge.core.events import Timings, Usage

# What nobody counts or measures is not believed: sums are made of it, and routes.
MOST_TOKENS: Final = 10**9
LEAST_RATE: Final = 1e-3  # tokens a second
MOST_RATE: Final = 1e7


class _Read(msgspec.Struct):
    cached_tokens: int | None = None


class _Written(msgspec.Struct):
    reasoning_tokens: int | None = None


class UsageWire(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Read | None = None
    completion_tokens_details: _Written | None = None

    def canonical(self) -> Usage:
        details = self.prompt_tokens_details
        return _usage(self.prompt_tokens, self.completion_tokens, None if details is None else details.cached_tokens)

    @property
    def reasoning_tokens(self) -> int | None:
        details = self.completion_tokens_details
        return None if details is None or details.reasoning_tokens is None else _tokens(details.reasoning_tokens)


class TimingsWire(msgspec.Struct):
    """It counts tokens here when nobody asked a stream for ``usage``."""

    cache_n: int | None = None
    prompt_n: int | None = None
    predicted_n: int | None = None
    prompt_per_second: float | None = None
    predicted_per_second: float | None = None

    def canonical(self) -> Timings:
        # The time of a single token is from its end to its end: a million a second.
        written_per_second = None if self.predicted_n == 1 else self.predicted_per_second
        return Timings(_rate(self.prompt_per_second), _rate(written_per_second))

    def usage(self) -> Usage | None:
        if self.prompt_n is None or self.predicted_n is None:
            return None
        cached = self.cache_n or 0
        return _usage(self.prompt_n + cached, self.predicted_n, cached)


def _usage(read: int | None, written: int | None, cached: int | None) -> Usage:
    tokens, held = _tokens(read), _tokens(cached)
    return Usage(tokens, _tokens(written), held if held < tokens else tokens)


def _tokens(said: int | None) -> int:
    if said is None or said <= 0:
        return 0
    return said if said < MOST_TOKENS else MOST_TOKENS


def _rate(said: float | None) -> float:
    return said if said is not None and LEAST_RATE <= said <= MOST_RATE else 0.0
