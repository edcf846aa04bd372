"""Ollama's replies, read as events and written from them: NDJSON where streamed, one object where whole.

A call of a tool comes whole in its line, its arguments as JSON. The last line has ``done`` and the counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import ReplyHead
from moltbot_edge.core.errors import GatewayError, InvalidReply, TruncatedReply
from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.reply import (
    Began,
    Broke,
    Event,
    Finished,
    FinishReason,
    LogProbs,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogProb,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)
from moltbot_edge.dialects import ollama_context
from moltbot_edge.dialects.ollama import Counts
from moltbot_edge.dialects.ollama_values import moment, nanoseconds

LINE_BYTES: Final = 8 * 1024 * 1024  # of one line: the longest are calls whose arguments are a file

# Ollama has no reason of its own for a call: it stops.
_REASONS: Final = {"length": FinishReason.LENGTH}


class _Function(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Token(msgspec.Struct):
    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top_logprobs: list[_Token] | None = None


class _Line(Counts):
    model: str | None = None
    created_at: str | None = None
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    logprobs: list[_Token] | None = None
    done: bool = False
    done_reason: str | None = None
    error: str | None = None


_line = msgspec.json.Decoder(_Line).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Reader:
    """*streamed* or not, a reply is lines; a whole one is a single line, whose end may be missing."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._began = False
        self._done = False
        self._calls = 0
        self._wrong: InvalidReply | None = None  # raised once what came before it is given

    def feed(self, data: bytes) -> list[Event]:
        if self._wrong is not None:
            raise self._wrong
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data)
            return []
        lines = b"".join((*self._held, data[:end]))
        self._held.clear()
        self._held_bytes = 0
        if end < len(data):
            self._hold(data[end:])
        events: list[Event] = []
        for line in lines.splitlines():
            if line and not self._done:
                try:
                    self._read(line, events)
                except InvalidReply as error:
                    self._wrong = error
                    if not events:
                        raise
                    break
        return events

    def end(self) -> list[Event]:
        rest = b"".join(self._held).strip()
        self._held.clear()
        if self._wrong is not None:
            raise self._wrong
        events: list[Event] = []
        if rest and not self._done:
            try:
                self._read(rest, events)
            except InvalidReply as error:
                if rest.endswith(b"}"):
                    raise
                raise TruncatedReply("the upstream's reply ends in the middle of a line") from error
        if not self._done:
            raise TruncatedReply("the upstream's reply ended before it was done")
        return events

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > LINE_BYTES:
            raise InvalidReply(f"the upstream sent a line longer than {LINE_BYTES} bytes")

    def _read(self, data: bytes, events: list[Event]) -> None:
        try:
            line = _line(data)
        except UNREADABLE as error:
            raise InvalidReply(f"the upstream sent a line that is none of Ollama's: {error}") from error
        if line.error is not None:
            self._done = True
            events.append(Broke(line.error))
            return
        if not self._began:
            self._began = True
            events.append(Began(model=line.model))
        message = line.message
        thinking = line.thinking if message is None else message.thinking
        content = line.response if message is None else message.content
        if thinking:
            events.append(ReasoningDelta(thinking))
        if content:
            events.append(TextDelta(content))
        if line.logprobs:
            events.append(LogProbs(tuple(_canonical(one) for one in line.logprobs)))
        if message is not None and message.tool_calls:
            for call in message.tool_calls:
                self._call(call, line.created_at, events)
        if line.done:
            self._done = True
            usage = line.usage()
            if usage is not None:
                events.append(UsageSaid(usage, timings=line.timings()))
            called = FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP
            events.append(Finished(_REASONS.get(line.done_reason or "", called)))

    def _call(self, call: _Call, created_at: str | None, events: list[Event]) -> None:
        index = self._calls
        self._calls += 1
        # Ollama before 0.12 names no calls, and theirs must not be another turn's: so the moment is in it.
        made = f"call_{re.sub(r'[^0-9]', '', created_at or '')[-20:]}_{index}"
        arguments = bytes(call.function.arguments)
        events.append(ToolCallBegan(index, call.id or made, call.function.name))
        events.append(ToolCallDelta(index, "{}" if arguments == b"null" else arguments.decode("utf-8", "replace")))


def _canonical(said: _Token) -> TokenLogProb:
    top = tuple(_canonical(one) for one in said.top_logprobs or ())
    return TokenLogProb(said.token, said.logprob, said.bytes, top)


class _Said(msgspec.Struct, omit_defaults=True):
    """Of a chat's line."""

    role: str
    content: str
    thinking: str = ""
    tool_calls: list[dict[str, object]] | None = None


class _ChatLine(msgspec.Struct, omit_defaults=True):
    model: str
    created_at: str
    message: _Said
    done: bool
    done_reason: str = ""
    logprobs: list[dict[str, object]] | None = None
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    left_out_tokens: int = 0


class _GenerateLine(msgspec.Struct, omit_defaults=True):
    model: str
    created_at: str
    response: str
    done: bool
    thinking: str = ""
    done_reason: str = ""
    logprobs: list[dict[str, object]] | None = None
    context: list[int] | None = None
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    left_out_tokens: int = 0


class _Writing:
    """What a stream and a whole reply share: the calls, which are whole only at the end, and the counts."""

    def __init__(self, request: ChatRequest, head: ReplyHead, path: str) -> None:
        self._head = head
        self._created_at = moment(head.created)
        self._is_chat = path != "/api/generate"
        self._calls: dict[int, tuple[ToolCallBegan, list[str]]] = {}
        self._usage: Usage | None = None
        self._timings: Timings | None = None
        self._first_s: float | None = None  # from the request to the first words
        self._broke: str | None = None
        self._reason = "stop"
        if request.loads_only:
            self._reason = "unload" if request.keep_alive == 0 else "load"

    def _line(
        self,
        text: str = "",
        thinking: str = "",
        calls: list[dict[str, object]] | None = None,
        logprobs: list[dict[str, object]] | None = None,
        done: bool = False,
    ) -> _ChatLine | _GenerateLine:
        model, created_at = self._head.model, self._created_at
        if self._is_chat:
            return _ChatLine(model, created_at, _Said("assistant", text, thinking, calls), done, logprobs=logprobs)
        return _GenerateLine(model, created_at, text, done, thinking, logprobs=logprobs)

    def _note(self, event: Event) -> None:
        match event:
            case ToolCallBegan(index=index):
                self._calls[index] = (event, [])
            case ToolCallDelta(index=index, arguments=piece):
                if index in self._calls:
                    self._calls[index][1].append(piece)
            case UsageSaid(usage=usage, timings=timings):
                self._usage, self._timings = usage, timings or self._timings
            case Finished(reason=reason):
                if reason is FinishReason.LENGTH:
                    self._reason = "length"
            case Broke(message=message):
                self._broke = message
            case _:
                pass  # what Ollama's replies have no place for: seals, an id

    def _began_to_answer(self) -> None:
        if self._first_s is None and self._head.elapsed_s is not None:
            self._first_s = self._head.elapsed_s()

    def _whole_calls(self) -> list[dict[str, object]] | None:
        calls: list[dict[str, object]] = []
        for index, (began, pieces) in sorted(self._calls.items()):
            text = "".join(pieces)
            try:
                _object(text)
                arguments: object = msgspec.Raw(text.encode())
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                arguments = {"arguments": text} if text.strip() else {}
            function = {"index": index, "name": began.name, "arguments": arguments}
            calls.append({"id": began.id, "function": function})
        return calls or None

    def _last(self, line: _ChatLine | _GenerateLine) -> bytes:
        """*line* as a reply's last, with its counts; what the upstream did not measure is measured here."""
        line.done = True
        line.done_reason = self._reason
        total_s = self._head.elapsed_s() if self._head.elapsed_s is not None else 0.0
        first_s = total_s if self._first_s is None else self._first_s
        read_s, wrote_s = first_s, total_s - first_s
        usage, timings = self._usage or Usage(), self._timings or Timings()
        if timings.prefill_rate:
            read_s = (usage.input_tokens - usage.cached_tokens) / timings.prefill_rate
        if timings.decode_rate:
            wrote_s = usage.output_tokens / timings.decode_rate
        line.total_duration = nanoseconds(max(total_s, read_s + wrote_s))
        line.load_duration = nanoseconds(max(0.0, total_s - read_s - wrote_s))
        line.prompt_eval_count = usage.input_tokens
        line.prompt_eval_duration = nanoseconds(read_s)
        line.eval_count = usage.output_tokens
        line.eval_duration = nanoseconds(wrote_s)
        line.left_out_tokens = self._head.left_out_tokens
        place = self._head.place
        if isinstance(line, _GenerateLine) and place is not None and place.turn is not None:
            line.context = ollama_context.written(place.session, place.turn)
        return _encode(line)


class StreamWriter(_Writing):
    def write(self, events: Sequence[Event]) -> bytes:
        lines: list[_ChatLine | _GenerateLine] = []
        for event in events:
            match event:
                case TextDelta(text=text) | RefusalDelta(text=text):
                    lines.append(self._line(text))
                case ReasoningDelta(text=text):
                    lines.append(self._line(thinking=text))
                case LogProbs(tokens=tokens):
                    lines.append(self._line(logprobs=[_said(one) for one in tokens]))
                case _:
                    self._note(event)
        if not lines:
            return b""
        self._began_to_answer()
        return b"".join([_encode(line) + b"\n" for line in lines])

    def end(self) -> bytes:
        if self._broke is not None:
            return _encode({"error": self._broke}) + b"\n"
        calls = self._whole_calls() if self._is_chat else None
        before = b"" if calls is None else _encode(self._line(calls=calls)) + b"\n"
        return before + self._last(self._line()) + b"\n"

    def fail(self, error: GatewayError) -> bytes:
        return _encode({"error": error.message}) + b"\n"


class WholeWriter(_Writing):
    def __init__(self, request: ChatRequest, head: ReplyHead, path: str) -> None:
        super().__init__(request, head, path)
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._logprobs: list[dict[str, object]] = []

    def write(self, events: Sequence[Event]) -> bytes:
        for event in events:
            match event:
                case TextDelta(text=text) | RefusalDelta(text=text):
                    self._began_to_answer()
                    self._texts.append(text)
                case ReasoningDelta(text=text):
                    self._began_to_answer()
                    self._thoughts.append(text)
                case LogProbs(tokens=tokens):
                    self._logprobs += [_said(one) for one in tokens]
                case _:
                    self._note(event)
        return b""

    def end(self) -> bytes:
        if self._broke is not None:
            return _encode({"error": self._broke})
        calls = self._whole_calls() if self._is_chat else None
        return self._last(self._line("".join(self._texts), "".join(self._thoughts), calls, self._logprobs or None))

    def fail(self, error: GatewayError) -> bytes:
        return _encode({"error": error.message})


def _said(one: TokenLogProb) -> dict[str, object]:
    said: dict[str, object] = {"token": one.token, "logprob": one.logprob}
    if one.bytes is not None:
        said["bytes"] = one.bytes
    if one.top:
        said["top_logprobs"] = [_said(other) for other in one.top]
    return said
