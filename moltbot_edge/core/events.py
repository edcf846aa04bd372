"""What a reply said of itself: usage and timings. A reply is the fold of its events, streamed or whole."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one exchange. *cached_tokens* are part of *input_tokens*, as in OpenAI's and llama-server's counts."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


class Timings(msgspec.Struct, frozen=True):
    """As ``llama-server`` measures them; tokens per second, 0 where it did not."""

    prefill_rate: float = 0.0
    decode_rate: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """How one attempt on one deployment ended, for the scoreboard and the metrics. Seconds throughout.

    *error* is the error's code, or None, and *silent* says that nothing came at all. *first_byte_s* is of an answer; of
    a stream it is the first event's.
    """

    deployment: str
    status: int
    duration_s: float
    first_byte_s: float | None = None
    error: str | None = None
    retry_after_s: float | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    streamed: bool = False
    silent: bool = False
