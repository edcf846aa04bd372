"""A reply in Anthropic's shape -> events: a stream, cut anywhere, or a whole one. Pure.

Source: Anthropic's API reference. Events and blocks of kinds that are not known are passed over, as it asks for.
"""

from __future__ import annotations

from typing import Final

import msgspec

from moltbot_edge.core import sse
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidReply, TruncatedReply
from moltbot_edge.core.reply import (
    Began,
    Broke,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningSealed,
    TextDelta,
    ToolCallBegan,
    ToolCallDelta,
)
from moltbot_edge.dialects import anthropic_seal
from moltbot_edge.dialects.anthropic_seal import ORIGIN
from moltbot_edge.dialects.anthropic_usage import UsageWire

MOST_BLOCKS: Final = 10_000  # of a reply
ABSENT: Final = msgspec.Raw(b"")

REASONS: Final = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "pause_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.REFUSED,
}


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT


class _Delta(msgspec.Struct):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    content: list[_Block] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: UsageWire | None = None
    error: _Error | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: UsageWire | None = None
    error: _Error | None = None


_event = msgspec.json.Decoder(_Event).decode
_message = msgspec.json.Decoder(_Message).decode


class _Open(msgspec.Struct):
    """A block that has begun. *call* is our index of a tool call; *said*: its arguments have begun."""

    kind: str
    call: int = 0
    said: bool = False
    signature: str = ""


class _Events:
    def __init__(self) -> None:
        self._calls = 0
        self._blocks = 0
        self._finished = False
        self._usage: UsageWire | None = None

    def _began(self, block: _Block, found: list[Event]) -> _Open:
        self._blocks += 1
        if self._blocks > MOST_BLOCKS:
            raise InvalidReply(f"the upstream sent more than {MOST_BLOCKS} blocks")
        opened = _Open(block.type)
        match block.type:
            case "text":
                if block.text:
                    found.append(TextDelta(block.text))
            case "thinking":
                if block.thinking:
                    found.append(ReasoningDelta(block.thinking))
                opened.signature = block.signature or ""
            case "redacted_thinking":
                found.append(ReasoningSealed(block.data or "", ORIGIN, True))
            case "tool_use":
                opened.call = self._calls
                self._calls += 1
                found.append(ToolCallBegan(opened.call, block.id or f"call_{opened.call}", block.name or ""))
                arguments = bytes(block.input)
                if arguments not in (b"", b"null") and bytes(arguments).strip(b"{} \r\n\t"):
                    opened.said = True
                    found.append(ToolCallDelta(opened.call, arguments.decode("utf-8", "replace")))
        return opened

    def _shut(self, block: _Open, found: list[Event]) -> None:
        if block.kind == "tool_use" and not block.said:
            found.append(ToolCallDelta(block.call, "{}"))  # no arguments: others want the empty object
        elif block.kind == "thinking" and block.signature:
            thought = anthropic_seal.read("", block.signature)
            if thought.seal is not None:
                found.append(ReasoningSealed(thought.seal, thought.origin or ORIGIN, False, thought.id))

    def _finish(self, reason: str, sequence: str | None, found: list[Event]) -> None:
        self._finished = True
        found.append(Finished(REASONS.get(reason, FinishReason.STOP), sequence))


class StreamEvents(_Events):
    def __init__(self) -> None:
        super().__init__()
        self._held = b""
        self._open: dict[int, _Open] = {}
        self._broke = False
        self._wrong: InvalidReply | None = None  # raised once what came before it is given

    def feed(self, data: bytes) -> list[Event]:
        if self._wrong is not None:
            raise self._wrong
        if self._held or not data.endswith(b"\n\n"):
            data, self._held = sse.parted(self._held + data)
        found: list[Event] = []
        if data:
            try:
                self._read(data, found)
            except InvalidReply as error:
                self._wrong = error
                if not found:
                    raise
        return found

    def end(self) -> list[Event]:
        if self._wrong is not None:
            raise self._wrong
        found: list[Event] = []
        if self._held:
            held, self._held = self._held, b""
            try:
                self._read(held, found)
            except InvalidReply as error:
                raise TruncatedReply("the upstream's stream ended in the middle of an event") from error
        if not self._finished and not self._broke:
            raise TruncatedReply("the upstream's stream ended before its reply did")
        return found

    def _read(self, data: bytes, found: list[Event]) -> None:
        for one in sse.data_of(data):
            if self._broke:
                return
            try:
                event = _event(one)
            except UNREADABLE as error:
                raise InvalidReply(f"the upstream sent what is no event of anthropic-messages: {error}") from error
            if event.type == "content_block_delta":
                self._delta(event, found)
            else:
                self._other(event, found)

    def _delta(self, event: _Event, found: list[Event]) -> None:
        block, delta = self._open.get(event.index), event.delta
        if block is None or delta is None:
            return
        if delta.text:
            found.append(TextDelta(delta.text))
        elif delta.partial_json:
            if block.kind == "tool_use":
                block.said = True
                found.append(ToolCallDelta(block.call, delta.partial_json))
        elif delta.thinking:
            found.append(ReasoningDelta(delta.thinking))
        elif delta.signature:
            block.signature += delta.signature

    def _other(self, event: _Event, found: list[Event]) -> None:
        match event.type:
            case "message_start":
                message = event.message or _Message()
                found.append(Began(message.id, message.model))
                self._count(message.usage, found)
            case "content_block_start" if event.content_block is not None:
                self._open[event.index] = self._began(event.content_block, found)
            case "content_block_stop":
                block = self._open.pop(event.index, None)
                if block is not None:
                    self._shut(block, found)
            case "message_delta":
                delta = event.delta
                if delta is not None and delta.stop_reason is not None and not self._finished:
                    for block in self._open.values():
                        self._shut(block, found)
                    self._open.clear()
                    self._finish(delta.stop_reason, delta.stop_sequence, found)
                self._count(event.usage, found)
            case "error":
                self._broke = True
                error = event.error or _Error()
                found.append(Broke(error.message or "the upstream failed in the middle of its reply", error.type))

    def _count(self, usage: UsageWire | None, found: list[Event]) -> None:
        if usage is not None:
            self._usage = usage.over(self._usage)
            found.append(self._usage.said())


class WholeEvents(_Events):
    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[Event]:
        self._pieces.append(data)
        return []

    def end(self) -> list[Event]:
        body = b"".join(self._pieces)
        self._pieces.clear()
        try:
            message = _message(body)
        except UNREADABLE as error:
            if not isinstance(error, msgspec.ValidationError) and not body.rstrip().endswith(b"}"):
                raise TruncatedReply("the upstream's reply is not whole") from error
            raise InvalidReply(f"the upstream sent what is no reply of anthropic-messages: {error}") from error
        if message.error is not None:
            return [Broke(message.error.message or "the upstream failed", message.error.type)]
        if message.stop_reason is None and not message.content:
            raise InvalidReply("the upstream sent what is no reply of anthropic-messages: it has no content")
        found: list[Event] = [Began(message.id, message.model)]
        for block in message.content:
            self._shut(self._began(block, found), found)
        self._finish(message.stop_reason or "end_turn", message.stop_sequence, found)
        if message.usage is not None:
            found.append(message.usage.said())
        return found
