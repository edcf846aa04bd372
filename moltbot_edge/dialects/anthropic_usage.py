"""What a reply in Anthropic's shape counts, and the readers of a relayed one, which look for nothing else.

Anthropic's ``input_tokens`` are those that came from no cache and went into none; ours are all of them.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from moltbot_edge.core import sse
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import ReplyHead
from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.reply import UsageSaid

MOST_TOKENS: Final = 10**9  # what nobody counts is not believed
READ_BYTES: Final = 4 * 1024 * 1024  # of a whole reply; a longer one is not looked at


class _Details(msgspec.Struct):
    thinking_tokens: int | None = None


class UsageWire(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _Details | None = None

    def over(self, earlier: UsageWire | None) -> UsageWire:
        """A stream says some at its beginning and all that it knows at its end."""
        if earlier is None:
            return self
        said = {
            name: new if (new := getattr(self, name)) is not None else getattr(earlier, name)
            for name in self.__struct_fields__
        }
        return UsageWire(**said)

    def canonical(self) -> Usage:
        read, kept = _tokens(self.cache_read_input_tokens), _tokens(self.cache_creation_input_tokens)
        return Usage(_tokens(self.input_tokens) + read + kept, _tokens(self.output_tokens), read)

    def said(self) -> UsageSaid:
        details, kept = self.output_tokens_details, self.cache_creation_input_tokens
        thought = None if details is None or details.thinking_tokens is None else _tokens(details.thinking_tokens)
        return UsageSaid(self.canonical(), thought, None, _tokens(kept) if kept else None)


def _tokens(said: int | None) -> int:
    return min(max(said or 0, 0), MOST_TOKENS)


def written(told: UsageSaid | None, head: ReplyHead) -> dict[str, Any]:
    """The tokens of *head* are an estimate, for as long as nobody has told."""
    usage = Usage(head.prompt_tokens) if told is None else told.usage
    kept = 0 if told is None else told.cache_write_tokens or 0
    said: dict[str, Any] = {
        "input_tokens": max(usage.input_tokens - usage.cached_tokens - kept, 0),
        "cache_creation_input_tokens": kept,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if told is not None and told.reasoning_tokens is not None:
        said["output_tokens_details"] = {"thinking_tokens": told.reasoning_tokens}
    if head.left_out_tokens:
        said["left_out_tokens"] = head.left_out_tokens
    return said


class _Message(msgspec.Struct):
    usage: UsageWire | None = None


class _Said(msgspec.Struct):
    """A whole reply, or an event of a stream: everything else in it stays undecoded."""

    message: _Message | None = None
    usage: UsageWire | None = None


_said = msgspec.json.Decoder(_Said).decode


class _Reader:
    usage: Usage | None = None
    timings: Timings | None = None

    def __init__(self) -> None:
        self._known: UsageWire | None = None

    def _keep(self, data: bytes) -> None:
        try:
            said = _said(data)
        except UNREADABLE:
            return  # none of ours to judge
        usage = said.usage or (None if said.message is None else said.message.usage)
        if usage is not None:
            self._known = usage.over(self._known)
            self.usage = self._known.canonical()


class StreamReader(_Reader):
    def feed(self, data: bytes) -> None:
        # A key's quotes are bare; inside a string they would be escaped. So most events need no decoding.
        if b'"usage"' in data:
            for one in sse.data_of(data):
                if b'"usage"' in one:
                    self._keep(one)

    def end(self) -> None: ...


class WholeReader(_Reader):
    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        self._pieces.append(data)
        if self._size > READ_BYTES:
            self._pieces.clear()

    def end(self) -> None:
        if self._pieces:
            self._keep(b"".join(self._pieces))
            self._pieces.clear()
