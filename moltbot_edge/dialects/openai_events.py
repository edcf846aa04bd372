"""A reply in OpenAI's chat shape -> events: a stream of chunks, cut anywhere, or a whole one. Pure.

Source: OpenAI's API reference, and what others send under the same name: thoughts as ``reasoning_content`` (DeepSeek,
llama-server, vLLM) or ``reasoning`` (OpenRouter, newer vLLM) or as parts of a content (Mistral); calls without an
index or an id, all at once, with arguments that are an object. Of several choices the first is read.
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
    LogProbs,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogProb,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)
from moltbot_edge.dialects.openai_usage import TimingsWire, UsageWire

ABSENT: Final = msgspec.Raw(b"")
MOST_CALLS: Final = 1_000  # of a reply
SAYS_NOTHING: Final = frozenset({Began, UsageSaid})

REASONS: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.REFUSED,
}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, msgspec.Raw] | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Piece(msgspec.Struct):
    """A part of a content, where that is a list: Mistral's, with thoughts among them."""

    type: str | None = None
    text: str | None = None
    thinking: str | list[_Piece] | None = None


class _Said(msgspec.Struct):
    """A message, or a stream's piece of one."""

    content: str | list[_Piece] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = ABSENT


class _Reply(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = ABSENT
    timings: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class _LogProb(msgspec.Struct):
    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top_logprobs: list[_LogProb] | None = None

    def canonical(self) -> TokenLogProb:
        top = tuple(one.canonical() for one in self.top_logprobs or ())
        return TokenLogProb(self.token, self.logprob, self.bytes, top)


class _LogProbs(msgspec.Struct):
    content: list[_LogProb] | None = None


class _Complaint(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None


_reply = msgspec.json.Decoder(_Reply).decode
_usage = msgspec.json.Decoder(UsageWire).decode
_timings = msgspec.json.Decoder(TimingsWire).decode
_log_probs = msgspec.json.Decoder(_LogProbs).decode
_complaint = msgspec.json.Decoder(_Complaint | str).decode


class _Events:
    """What both kinds of a reply have: chunk after chunk, a whole one being the only one."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._began = False
        self._finish: str | None = None
        self._broke = False
        self._wrong: InvalidReply | None = None  # raised once what came before it is given
        self._usage_was_said = False
        self._calls: dict[int, tuple[str, bool]] = {}  # by the upstream's index: the id, and whether it began
        self._places: dict[int, int] = {}  # the upstream's index -> ours
        self._names: dict[int, str] = {}
        self._waiting: dict[int, list[str]] = {}  # arguments that came before their call's name

    def _of(self, data: bytes, found: list[Event]) -> None:
        """Raises `InvalidReply`."""
        try:
            reply = _reply(data)
        except UNREADABLE as error:
            self._wrong = InvalidReply(f"the upstream sent what is no reply of openai-chat: {error}")
            raise self._wrong from error
        if reply.error is not ABSENT and bytes(reply.error) != b"null":
            self._broke = True
            found.append(_broke(reply.error))
            return
        choices = reply.choices
        if not self._began:
            self._began = True
            self._id = reply.id
            found.append(Began(reply.id, reply.model))
        if choices:
            choice = choices[0] if not choices[0].index else next((one for one in choices if not one.index), None)
            if choice is not None:
                self._said(choice, found)
        if reply.usage is not ABSENT or reply.timings is not ABSENT:
            self._counted(reply, found)
        if choices and (reason := choices[0].finish_reason) and not self._finish:
            self._finish = reason
            found.append(Finished(self._reason()))

    def _said(self, choice: _Choice, found: list[Event]) -> None:
        said = choice.delta or choice.message
        if said is None:
            return
        thought = said.reasoning_content or said.reasoning
        if thought:
            found.append(ReasoningDelta(thought))
        content = said.content
        if content:
            if isinstance(content, str):
                found.append(TextDelta(content))
            else:
                _pieces(content, found)
        if said.refusal:
            found.append(RefusalDelta(said.refusal))
        if choice.logprobs is not ABSENT:
            _probable(choice.logprobs, found)
        if said.tool_calls:
            for place, call in enumerate(said.tool_calls):
                self._called(call, place, found)
        if said.function_call is not None:
            self._called(_Call(0, None, said.function_call), 0, found)

    def _called(self, call: _Call, place: int, found: list[Event]) -> None:
        function = call.function or _Function()
        index = call.index
        if index is None:
            # Complete calls, as Mistral's and some local servers' are; or the next piece of the only one.
            starts = bool(call.id or function.name)
            index = max(self._places, default=-1) + 1 if starts else max(self._places, default=place)
        elif call.id and function.name and index in self._calls and self._calls[index][0] not in ("", call.id):
            index = max(self._places) + 1  # another call under the same index, as Google's compatible server sends
        elif index not in self._places and call.id and (same := self._same(call.id)) is not None:
            index = same
        if index not in self._places:
            if len(self._places) >= MOST_CALLS:
                raise InvalidReply(f"the upstream called more than {MOST_CALLS} tools")
            self._places[index] = len(self._places)
            self._calls[index] = (call.id or "", False)
        known, began = self._calls[index]
        arguments = function.arguments
        if arguments is not None and not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        ours = self._places[index]
        if not began:
            if not function.name:
                self._calls[index] = (call.id or known, False)
                if arguments:
                    self._waiting.setdefault(index, []).append(arguments)
                return
            name_id = call.id or known or f"call_{self._id or 'reply'}_{ours}"
            self._calls[index] = (name_id, True)
            found.append(ToolCallBegan(ours, name_id, function.name))
            arguments = "".join([*self._waiting.pop(index, ()), arguments or ""])
        if arguments:
            found.append(ToolCallDelta(ours, arguments))

    def _same(self, call_id: str) -> int | None:
        return next((index for index, (known, _) in self._calls.items() if known == call_id), None)

    def _counted(self, reply: _Reply, found: list[Event]) -> None:
        timings = usage = None
        reasoning_tokens = None
        try:
            if reply.timings is not ABSENT and bytes(reply.timings) != b"null":
                measured = _timings(reply.timings)
                timings = measured.canonical()
                usage = None if self._usage_was_said else measured.usage()
            if reply.usage is not ABSENT and bytes(reply.usage) != b"null":
                wire = _usage(reply.usage)
                usage, reasoning_tokens = wire.canonical(), wire.reasoning_tokens
                self._usage_was_said = True
        except UNREADABLE:  # what counts wrong may yet answer right
            return
        if usage is not None:
            found.append(UsageSaid(usage, reasoning_tokens, timings))

    def _reason(self) -> FinishReason:
        reason = REASONS.get(self._finish or "", FinishReason.STOP)
        # Some servers say `stop` after calls as well.
        return FinishReason.TOOL_CALLS if self._calls and reason is FinishReason.STOP else reason


class StreamEvents(_Events):
    def __init__(self) -> None:
        super().__init__()
        self._held = b""
        self._done = False

    def feed(self, data: bytes) -> list[Event]:
        if self._wrong is not None:
            raise self._wrong
        if not self._held and data.startswith(b"data: {") and data.count(b"\n") == 2 and data.endswith(b"}\n\n"):
            one: list[Event] = []
            if not self._broke:
                self._of(data[6:-2], one)  # nearly every read is one event
            return one
        whole, self._held = sse.parted(self._held + data) if self._held or not data.endswith(b"\n\n") else (data, b"")
        found: list[Event] = []
        if whole:
            self._read(whole, found)
        return found

    def _read(self, whole: bytes, found: list[Event]) -> None:
        for data in sse.data_of(whole):
            if self._broke:
                return
            if data == b"[DONE]":
                self._done = True
            elif data:
                try:
                    self._of(data, found)
                except InvalidReply as error:
                    self._wrong = error
                    if not found:
                        raise
                    return

    def end(self) -> list[Event]:
        found: list[Event] = []
        if self._wrong is None and self._held:
            held, self._held = self._held, b""
            self._read(held, found)
        if self._wrong is not None:
            raise self._wrong
        if not self._finish and not self._broke:
            if not (self._done and self._began):
                raise TruncatedReply("the upstream's stream ended before its reply did")
            found.append(Finished(self._reason()))
        return found


class WholeEvents(_Events):
    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[Event]:
        self._pieces.append(data)
        return []

    def end(self) -> list[Event]:
        found: list[Event] = []
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._of(data, found)
        if self._broke:
            return found
        if all(type(event) in SAYS_NOTHING for event in found) and not self._answers(data):
            raise InvalidReply("the upstream sent a reply of openai-chat without an answer in it")
        if not self._finish:
            found.append(Finished(self._reason()))
        return found

    def _answers(self, data: bytes) -> bool:
        return bool(_reply(data).choices)


def _pieces(content: list[_Piece], found: list[Event]) -> None:
    for piece in content:
        if piece.thinking:
            thoughts = [_Piece(text=piece.thinking)] if isinstance(piece.thinking, str) else piece.thinking
            found += [ReasoningDelta(thought.text) for thought in thoughts if thought.text]
        elif piece.text:
            found.append(TextDelta(piece.text))


def _probable(raw: msgspec.Raw, found: list[Event]) -> None:
    if bytes(raw) == b"null":
        return
    try:
        tokens = _log_probs(raw).content
    except UNREADABLE:  # an older shape, of completions
        return
    if tokens:
        found.append(LogProbs(tuple(token.canonical() for token in tokens)))


def _broke(raw: msgspec.Raw) -> Broke:
    try:
        said = _complaint(raw)
    except UNREADABLE:
        return Broke(bytes(raw)[:500].decode("utf-8", "replace"))
    if isinstance(said, str):
        return Broke(said)
    return Broke(said.message or "the upstream failed", None if said.code is None else str(said.code))
