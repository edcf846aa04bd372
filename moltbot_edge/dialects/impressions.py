"""What the form of a reply shows, of any dialect that has events: empty, cut off, a tool call that is no JSON. Pure.

Reads every event, which a relay otherwise does not; only replies from which a policy learns are looked at so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import EventReader
from moltbot_edge.core.errors import GatewayError
from moltbot_edge.core.reply import (
    Began,
    Event,
    Finished,
    FinishReason,
    RefusalDelta,
    TextDelta,
    ToolCallBegan,
    ToolCallDelta,
)
from moltbot_edge.core.verdict import ID_CHARS, Impression

JUDGED_BYTES: Final = 256 * 1024  # of a whole reply, or of a stream's tool calls; more is not judged
MOST_CALLS: Final = 64


class EventObserver:
    """*reader* is the dialect's own, for this one reply."""

    def __init__(self, reader: EventReader, streamed: bool) -> None:
        self.reply_id: str | None = None
        self._reader: EventReader | None = reader
        self._streamed = streamed
        self._size = 0
        self._has_words = False
        self._cut_off = False
        self._ended = False
        self._calls: dict[int, list[str]] = {}

    def feed(self, data: bytes) -> None:
        if self._reader is None:
            return
        if not self._streamed:
            self._size += len(data)
        try:
            self._see(self._reader.feed(data))
        except GatewayError:
            self._reader = None
        if self._size > JUDGED_BYTES or len(self._calls) > MOST_CALLS:
            self._reader = None
            self._calls.clear()

    def impression(self) -> Impression | None:
        if self._reader is None:
            return None
        try:
            self._see(self._reader.end())
        except GatewayError:
            return None
        if not self._ended:
            return None
        broken = any(not _is_json("".join(pieces)) for pieces in self._calls.values())
        return Impression(
            empty=not self._has_words and not self._calls,
            cut_off=self._cut_off,
            broken_call=broken and not self._cut_off,
        )

    def _see(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case TextDelta(text) | RefusalDelta(text):
                    self._has_words = self._has_words or bool(text.strip())
                case ToolCallBegan(index):
                    self._calls[index] = []
                case ToolCallDelta(index, arguments):
                    self._size += len(arguments)
                    self._calls.setdefault(index, []).append(arguments)
                case Began(str(id)) if len(id) <= ID_CHARS:
                    self.reply_id = id
                case Finished(reason):
                    self._ended = True
                    self._cut_off = reason is FinishReason.LENGTH
                case _:
                    pass


_any = msgspec.json.Decoder(msgspec.Raw).decode


def _is_json(text: str) -> bool:
    try:
        _any(text or "{}")
    except UNREADABLE:
        return False
    return True
