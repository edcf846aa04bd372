"""Events -> a reply in Anthropic's shape: a stream of blocks, or a whole message. Pure.

Source: Anthropic's API reference and its official clients. One block is open at a time and none opens again, so where
an upstream writes two calls at once the second waits, unless the first one's arguments are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import ReplyHead
from moltbot_edge.core.errors import GatewayError
from moltbot_edge.core.reply import (
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningSealed,
    RefusalDelta,
    TextDelta,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)
from moltbot_edge.dialects import anthropic_seal, anthropic_usage
from moltbot_edge.dialects.anthropic_errors import error_event, error_object

REASONS: Final = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.REFUSED: "refusal",
}
STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b'
DELTA_END: Final = b"}}\n\n"

_json = msgspec.json.encode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Block(msgspec.Struct):
    """*kind* as the wire has it. *pieces* of a call are its arguments so far; of one that waits, all that it says."""

    kind: str
    call: int = -1
    id: str = ""
    name: str = ""
    signature: str | None = None
    data: str = ""
    pieces: list[str] = []

    def whole(self) -> bool:
        """Nothing can be added to it any more."""
        return self.kind != "tool_use" or _is_object("".join(self.pieces))


def _is_object(text: str) -> bool:
    if not text.rstrip().endswith("}"):
        return False
    try:
        _object(text.encode("utf-8", "replace"))
    except UNREADABLE:
        return False
    return True


def _stop_reason(finished: Finished | None, called: bool) -> tuple[str, str | None]:
    """Some upstreams say ``stop`` where tools are called, and some say calls where there are none."""
    reason = FinishReason.STOP if finished is None else finished.reason
    if reason is FinishReason.STOP and finished is not None and finished.stop_sequence is not None:
        return "stop_sequence", finished.stop_sequence
    if called and reason is FinishReason.STOP:
        reason = FinishReason.TOOL_CALLS
    elif reason is FinishReason.TOOL_CALLS and not called:
        reason = FinishReason.STOP
    return REASONS[reason], None


class _Answer:
    def __init__(self, request: ChatRequest, head: ReplyHead) -> None:
        thinking = request.thinking
        self._shows_thoughts = thinking is None or (thinking.on and thinking.shown is not False)
        self._head = head
        self._called = False
        self._finished: Finished | None = None
        self._usage: UsageSaid | None = None

    def _message(self, **said: Any) -> dict[str, Any]:
        head = self._head
        return {"id": f"msg_{head.id}", "type": "message", "role": "assistant", "model": head.model} | said


class StreamAnswer(_Answer):
    def __init__(self, request: ChatRequest, head: ReplyHead) -> None:
        super().__init__(request, head)
        self._begun = False
        self._count = 0  # of blocks that have begun
        self._open: _Block | None = None
        self._before = b""  # of each delta of the open block
        self._waiting: list[_Block] = []

    def write(self, events: Sequence[Event]) -> bytes:
        pieces: list[bytes] = []
        if not self._begun:
            self._start(events, pieces)
        for event in events:
            kind = type(event)
            if kind is TextDelta:
                if self._open is not None and self._open.kind == "text" and not self._waiting:
                    pieces += self._before, _json(event.text), DELTA_END  # type: ignore[union-attr]
                else:
                    self._say("text", event.text, pieces)  # type: ignore[union-attr]
            else:
                self._other(event, pieces)
        return b"".join(pieces)

    def _start(self, events: Sequence[Event], pieces: list[bytes]) -> None:
        self._begun = True
        known = next((event for event in events if type(event) is UsageSaid), None)
        usage = anthropic_usage.written(known, self._head)
        message = self._message(content=[], stop_reason=None, stop_sequence=None, usage=usage)
        pieces += b"event: message_start\ndata: ", _json({"type": "message_start", "message": message}), b"\n\n"

    def _other(self, event: Event, pieces: list[bytes]) -> None:
        match event:
            case RefusalDelta(text):
                self._say("text", text, pieces)
            case ReasoningDelta(text):
                if self._shows_thoughts:
                    self._say("thinking", text, pieces)
            case ReasoningSealed():
                if self._shows_thoughts or event.redacted or event.origin == anthropic_seal.ORIGIN:
                    self._seal(event, pieces)
            case ToolCallBegan(index, call_id, name):
                self._called = True
                self._enter(_Block("tool_use", index, call_id, name), pieces)
            case ToolCallDelta(index, arguments):
                self._argue(index, arguments, pieces)
            case UsageSaid():
                self._usage = event
            case Finished():
                self._finished = event
                self._flush(pieces)

    def _say(self, kind: str, text: str, pieces: list[bytes]) -> None:
        if self._waiting:
            if self._waiting[-1].kind != kind:
                self._waiting.append(_Block(kind))
            self._waiting[-1].pieces.append(text)
            return
        if self._open is None or self._open.kind != kind or self._open.signature is not None:
            self._enter(_Block(kind), pieces)
            if self._waiting:
                self._waiting[-1].pieces.append(text)
                return
        pieces += self._before, _json(text), DELTA_END

    def _seal(self, event: ReasoningSealed, pieces: list[bytes]) -> None:
        if event.redacted:
            data = event.seal if event.origin == anthropic_seal.ORIGIN else _foreign(event)
            self._enter(_Block("redacted_thinking", data=data), pieces)
            return
        last = self._waiting[-1] if self._waiting else self._open
        if last is None or last.kind != "thinking" or last.signature is not None:
            self._enter(_Block("thinking"), pieces)
            last = self._waiting[-1] if self._waiting else self._open
        if last is not None:
            last.signature = _foreign(event)

    def _argue(self, index: int, arguments: str, pieces: list[bytes]) -> None:
        block = self._open
        if block is None or block.call != index:
            block = next((one for one in self._waiting if one.call == index), None)
            if block is not None:
                block.pieces.append(arguments)
            return
        block.pieces.append(arguments)
        pieces += self._before, _json(arguments), DELTA_END

    def _enter(self, block: _Block, pieces: list[bytes]) -> None:
        if self._waiting or (self._open is not None and not self._open.whole()):
            self._waiting.append(block)
            return
        self._shut(pieces)
        self._begin(block, pieces)

    def _begin(self, block: _Block, pieces: list[bytes]) -> None:
        start: dict[str, Any]
        match block.kind:
            case "text":
                start, delta = {"type": "text", "text": ""}, b'"text_delta","text":'
            case "thinking":
                start = {"type": "thinking", "thinking": "", "signature": ""}
                delta = b'"thinking_delta","thinking":'
            case "redacted_thinking":
                start, delta = {"type": "redacted_thinking", "data": block.data}, b""
            case _:
                start = {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}
                delta = b'"input_json_delta","partial_json":'
        index = self._count
        self._count += 1
        self._open = block
        said = {"type": "content_block_start", "index": index, "content_block": start}
        pieces += b"event: content_block_start\ndata: ", _json(said), b"\n\n"
        self._before = DELTA % (index, delta)

    def _shut(self, pieces: list[bytes]) -> None:
        block, self._open = self._open, None
        if block is None:
            return
        index = self._count - 1
        if block.kind == "thinking":
            signature = anthropic_seal.written(None, None) if block.signature is None else block.signature
            delta = {"type": "signature_delta", "signature": signature}
            said: dict[str, Any] = {"type": "content_block_delta", "index": index, "delta": delta}
            pieces += b"event: content_block_delta\ndata: ", _json(said), b"\n\n"
        pieces.append(
            b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % index,
        )

    def _flush(self, pieces: list[bytes]) -> None:
        """Nothing is added to anything any more: what waits comes now."""
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            self._shut(pieces)
            self._begin(block, pieces)
            if block.pieces:
                pieces += self._before, _json("".join(block.pieces)), DELTA_END
        self._shut(pieces)

    def end(self) -> bytes:
        pieces: list[bytes] = []
        if not self._begun:
            self._start((), pieces)
        self._flush(pieces)
        reason, sequence = _stop_reason(self._finished, self._called)
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        usage = anthropic_usage.written(self._usage, self._head)
        said = {"type": "message_delta", "delta": delta, "usage": usage}
        pieces += b"event: message_delta\ndata: ", _json(said), b"\n\n", STOP
        return b"".join(pieces)

    def fail(self, error: GatewayError) -> bytes:
        return error_event(error)


class WholeAnswer(_Answer):
    def __init__(self, request: ChatRequest, head: ReplyHead) -> None:
        super().__init__(request, head)
        self._blocks: list[_Block] = []

    def write(self, events: Sequence[Event]) -> bytes:
        for event in events:
            match event:
                case TextDelta(text) | RefusalDelta(text):
                    self._last("text").pieces.append(text)
                case ReasoningDelta(text):
                    if self._shows_thoughts:
                        self._last("thinking").pieces.append(text)
                case ReasoningSealed():
                    if event.redacted:
                        self._blocks.append(_Block("redacted_thinking", data=_foreign(event)))
                    elif self._shows_thoughts or event.origin == anthropic_seal.ORIGIN:
                        self._last("thinking").signature = _foreign(event)
                case ToolCallBegan(index, call_id, name):
                    self._called = True
                    self._blocks.append(_Block("tool_use", index, call_id, name))
                case ToolCallDelta(index, arguments):
                    for block in self._blocks:
                        if block.call == index:
                            block.pieces.append(arguments)
                case UsageSaid():
                    self._usage = event
                case Finished():
                    self._finished = event
        return b""

    def _last(self, kind: str) -> _Block:
        if not self._blocks or self._blocks[-1].kind != kind or self._blocks[-1].signature is not None:
            self._blocks.append(_Block(kind))
        return self._blocks[-1]

    def end(self) -> bytes:
        reason, sequence = _stop_reason(self._finished, self._called)
        return _json(
            self._message(
                content=[_written(block) for block in self._blocks],
                stop_reason=reason,
                stop_sequence=sequence,
                usage=anthropic_usage.written(self._usage, self._head),
            )
        )

    def fail(self, error: GatewayError) -> bytes:
        return error_object(error)


def _foreign(event: ReasoningSealed) -> str:
    return anthropic_seal.written(event.seal, event.origin, event.id)


def _written(block: _Block) -> dict[str, Any]:
    text = "".join(block.pieces)
    match block.kind:
        case "text":
            return {"type": "text", "text": text}
        case "thinking":
            signature = anthropic_seal.written(None, None) if block.signature is None else block.signature
            return {"type": "thinking", "thinking": text, "signature": signature}
        case "redacted_thinking":
            return {"type": "redacted_thinking", "data": block.data}
    arguments: Any = {}
    if _is_object(text):
        arguments = msgspec.Raw(text.encode("utf-8", "replace"))
    elif text.strip():
        arguments = {"_unparsed": text}  # an object there has to be, and nothing of it is lost
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": arguments}
