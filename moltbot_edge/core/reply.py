"""What a reply says, piece by piece: the events that every dialect reads and writes. A reply is their fold.

Streamed and whole replies give the same events, a whole one all at once. What a reply says of itself is in `events`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from moltbot_edge.core.events import Timings, Usage


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    REFUSED = "refused"  # by a filter, or by the model where its dialect says so


class Began(msgspec.Struct, frozen=True):
    """The first event of a reply. *id* and *model* are the upstream's own."""

    id: str | None = None
    model: str | None = None


class TextDelta(msgspec.Struct, frozen=True):
    text: str


class RefusalDelta(msgspec.Struct, frozen=True):
    text: str


class ReasoningDelta(msgspec.Struct, frozen=True):
    text: str


class ReasoningSealed(msgspec.Struct, frozen=True):
    """Ends a piece of reasoning with its *seal*, as `core.chat.Reasoning` has it; *redacted*: there was no text."""

    seal: str
    origin: str
    redacted: bool = False
    id: str | None = None


class ToolCallBegan(msgspec.Struct, frozen=True):
    """*index* counts the calls of a reply from 0. Calls may come in parallel."""

    index: int
    id: str
    name: str


class ToolCallDelta(msgspec.Struct, frozen=True):
    """The next piece of the arguments' JSON text."""

    index: int
    arguments: str


class TokenLogProb(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple[TokenLogProb, ...] = ()


class LogProbs(msgspec.Struct, frozen=True):
    """Of the tokens of the text that came last."""

    tokens: tuple[TokenLogProb, ...]


class UsageSaid(msgspec.Struct, frozen=True):
    """May come more than once; the last holds. *reasoning_tokens* are part of its output's.

    *cache_write_tokens* are part of its input's: what a provider bills for keeping.
    """

    usage: Usage
    reasoning_tokens: int | None = None
    timings: Timings | None = None
    cache_write_tokens: int | None = None


class Finished(msgspec.Struct, frozen=True):
    """The last event but usage. *stop_sequence* is the one that ended it, where that is known."""

    reason: FinishReason
    stop_sequence: str | None = None


class Broke(msgspec.Struct, frozen=True):
    """The upstream says in the middle of its stream that it failed. Nothing comes after it."""

    message: str
    code: str | None = None


Event = (
    Began
    | TextDelta
    | RefusalDelta
    | ReasoningDelta
    | ReasoningSealed
    | ToolCallBegan
    | ToolCallDelta
    | LogProbs
    | UsageSaid
    | Finished
    | Broke
)
