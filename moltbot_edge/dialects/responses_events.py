"""A reply of OpenAI's Responses, read: its stream's events, or its whole, become the canonical ones.

Source: OpenAI's API reference, and ``llama-server``, whose stream says neither `output_index` nor `content_index` nor
`sequence_number`: an item is found by its id, and by its place where it has none. What a provider's own tools did is
passed over: no other dialect has words for it.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    ReasoningSealed,
    RefusalDelta,
    TextDelta,
    TokenLogProb,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)
from moltbot_edge.dialects import responses_seal
from moltbot_edge.dialects.responses_usage import TimingsWire, UsageWire

BETWEEN_SUMMARIES: Final = "\n\n"


class _TopLogProb(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0
    bytes: tuple[int, ...] | None = None


class _LogProb(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0
    bytes: tuple[int, ...] | None = None
    top_logprobs: Sequence[_TopLogProb] = ()

    def canonical(self) -> TokenLogProb:
        top = tuple(TokenLogProb(one.token, one.logprob, one.bytes) for one in self.top_logprobs)
        return TokenLogProb(self.token, self.logprob, self.bytes, top)


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    logprobs: Sequence[_LogProb] | None = None


class _Item(msgspec.Struct):
    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: Sequence[_Part] | None = None
    summary: Sequence[_Part] | None = None
    encrypted_content: str | None = None


class _Error(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    status: str | None = None
    output: Sequence[_Item] | None = None
    usage: UsageWire | None = None
    timings: TimingsWire | None = None
    error: _Error | None = None
    incomplete_details: _Incomplete | None = None


class _Said(msgspec.Struct):
    """Any event of a stream."""

    type: str = ""
    delta: str | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    logprobs: Sequence[_LogProb] | None = None
    arguments: str | None = None
    text: str | None = None
    refusal: str | None = None
    item: _Item | None = None
    response: _Response | None = None
    timings: TimingsWire | None = None
    error: _Error | str | None = None
    message: str | None = None
    code: str | int | None = None


class _Whole(_Response):
    object: str | None = None


_said = msgspec.json.Decoder(_Said).decode
_whole = msgspec.json.Decoder(_Whole).decode


class _Progress(msgspec.Struct):
    """How far an item has come. *index* is that of a call among the reply's calls."""

    index: int = -1
    words: bool = False  # some of its text, or of its arguments, was said
    summary_index: int | None = None
    done: bool = False


class StreamReader:
    """The bytes of a stream -> events."""

    def __init__(self) -> None:
        self._rest = b""
        self._began = False
        self._calls = _Calls()
        self._items: dict[object, _Progress] = {}
        self._last: _Progress | None = None
        self._over = False
        self._wrong: InvalidReply | None = None  # raised once what came before it is given

    def feed(self, data: bytes) -> list[Event]:
        if self._wrong is not None:
            raise self._wrong
        whole, self._rest = sse.parted(self._rest + data if self._rest else data)
        return self._read(whole) if whole else []

    def end(self) -> list[Event]:
        rest, self._rest = self._rest, b""
        events = self._read(rest) if rest.strip() and self._wrong is None else []
        if self._wrong is not None:
            raise self._wrong
        if not self._over:
            raise TruncatedReply("the stream ended before response.completed")
        return events

    def _read(self, whole: bytes) -> list[Event]:
        events: list[Event] = []
        for data in sse.data_of(whole):
            if self._over or data == b"[DONE]":
                continue
            try:
                said = _said(data)
            except UNREADABLE as error:
                self._wrong = InvalidReply(f"an event of the stream cannot be read: {error}")
                if not events:
                    raise self._wrong from error
                break
            if said.type == "response.output_text.delta":  # nearly all of them
                self._progress(said).words = True
                if not self._began:
                    self._begin(None, events)
                if said.delta:
                    events.append(TextDelta(said.delta))
                if said.logprobs:
                    events.append(LogProbs(tuple(one.canonical() for one in said.logprobs)))
            else:
                self._other(said, events)
        return events

    def _other(self, said: _Said, events: list[Event]) -> None:
        match said.type:
            case "response.created" | "response.in_progress" | "response.queued":
                if not self._began:
                    self._begin(said.response, events)
            case "response.output_item.added" if said.item is not None:
                self._add(said, said.item, events)
            case "response.function_call_arguments.delta" if said.delta:
                progress = self._progress(said)
                if progress.index >= 0:
                    progress.words = True
                    events.append(ToolCallDelta(progress.index, said.delta))
            case "response.function_call_arguments.done" if said.arguments:
                progress = self._progress(said)
                if progress.index >= 0 and not progress.words:
                    progress.words = True
                    events.append(ToolCallDelta(progress.index, said.arguments))
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" if said.delta:
                self._think(said, said.delta, events)
            case "response.refusal.delta" if said.delta:
                self._progress(said).words = True
                events.append(RefusalDelta(said.delta))
            case "response.output_item.done" if said.item is not None:
                self._finish_item(said, said.item, events)
            case "response.completed" | "response.incomplete" | "response.failed" if said.response is not None:
                self._finish(said, said.response, events)
            case "error":
                self._break(said.error if isinstance(said.error, _Error) else _Error(said.message, said.code), events)
            case "" if said.error is not None:  # what is no event of this dialect's, and llama-server's error is one
                error = said.error
                self._break(error if isinstance(error, _Error) else _Error(error), events)

    def _begin(self, response: _Response | None, events: list[Event]) -> None:
        self._began = True
        events.append(Began() if response is None else Began(response.id, response.model))

    def _key(self, said: _Said) -> object:
        item = said.item
        name = said.item_id or (None if item is None else item.id or item.call_id)
        return said.output_index if said.output_index is not None else name

    def _progress(self, said: _Said) -> _Progress:
        """Of the item that this event belongs to: the last one, where it does not say."""
        last = self._last
        key = self._key(said)
        progress = self._items.get(key) if key is not None else last
        if progress is None:
            # llama-server names a call's item in its delta as it did when it was added, and others do not.
            progress = last if last is not None and not last.done else _Progress()
            if key is not None:
                self._items[key] = progress
        self._last = progress
        return progress

    def _add(self, said: _Said, item: _Item, events: list[Event]) -> None:
        if not self._began:
            self._begin(None, events)
        progress = _Progress()
        self._last = progress
        for key in (said.output_index, item.id, item.call_id):
            if key is not None:
                self._items[key] = progress
        if item.type == "function_call":
            events += self._calls.begin(item, progress)

    def _think(self, said: _Said, delta: str, events: list[Event]) -> None:
        progress = self._progress(said)
        # A summary after the thoughts themselves says nothing new.
        place = -1 if said.type == "response.reasoning_text.delta" else said.summary_index or 0
        if progress.words and progress.summary_index != place:
            if (progress.summary_index or 0) < 0 or place < 0:
                return
            events.append(ReasoningDelta(BETWEEN_SUMMARIES))
        progress.words = True
        progress.summary_index = place
        events.append(ReasoningDelta(delta))

    def _finish_item(self, said: _Said, item: _Item, events: list[Event]) -> None:
        if not self._began:
            self._begin(None, events)
        key = self._key(said)
        progress = self._items.get(key) or (None if item.id is None else self._items.get(item.id))
        if progress is None:
            progress = _Progress()
            for name in (key, item.id):
                if name is not None:
                    self._items[name] = progress
        if progress.done:
            return
        progress.done = True
        self._last = progress
        events += _of_item(item, progress, self._calls)

    def _finish(self, said: _Said, response: _Response, events: list[Event]) -> None:
        if not self._began:
            self._begin(response, events)
        if not self._items:  # a server that says all at the end
            for item in response.output or ():
                events += _of_item(item, _Progress(), self._calls)
        self._over = True
        if said.type == "response.failed" or response.status == "failed":
            error = response.error or _Error()
            self._over = False
            self._break(error, events)
            return
        events += _ending(response, said.timings, self._calls.count)

    def _break(self, error: _Error, events: list[Event]) -> None:
        if not self._began:
            self._begin(None, events)
        self._over = True
        events.append(_broke(error))


class WholeReader:
    """A whole reply -> the same events, all at its end."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[Event]:
        self._pieces.append(bytes(data))
        return []

    def end(self) -> list[Event]:
        body = b"".join(self._pieces)
        self._pieces.clear()
        try:
            response = _whole(body)
        except msgspec.ValidationError as error:
            raise InvalidReply(f"the reply is none of openai-responses: {error}") from error
        except UNREADABLE as error:
            kind = TruncatedReply if "truncated" in str(error) else InvalidReply
            raise kind(f"the reply cannot be read: {error}") from error
        if response.output is None and response.error is None:
            raise InvalidReply("the reply is none of openai-responses: it has no `output`")
        events: list[Event] = [Began(response.id, response.model)]
        calls = _Calls()
        for item in response.output or ():
            events += _of_item(item, _Progress(), calls)
        if response.status == "failed" or response.output is None:
            return [*events, _broke(response.error or _Error())]
        return [*events, *_ending(response, None, calls.count)]


class _Calls:
    """The reply's calls, counted."""

    def __init__(self) -> None:
        self.count = 0

    def begin(self, item: _Item, progress: _Progress) -> list[Event]:
        progress.index = self.count
        self.count += 1
        began = ToolCallBegan(progress.index, item.call_id or item.id or "", item.name or "")
        if not item.arguments:
            return [began]
        progress.words = True
        return [began, ToolCallDelta(progress.index, item.arguments)]


def _of_item(item: _Item, progress: _Progress, calls: _Calls) -> list[Event]:
    """What a whole item says beyond what was said of it already."""
    match item.type:
        case "function_call":
            if progress.index < 0:
                return calls.begin(item, progress)
            return [] if progress.words or not item.arguments else [ToolCallDelta(progress.index, item.arguments)]
        case "message":
            return [] if progress.words else [event for part in item.content or () for event in _of_part(part)]
        case "reasoning":
            events: list[Event] = []
            if not progress.words:
                parts = item.content or item.summary or ()
                text = BETWEEN_SUMMARIES.join(part.text or "" for part in parts)
                if text:
                    events.append(ReasoningDelta(text))
            if item.encrypted_content:
                seal, origin, redacted = responses_seal.read(item.encrypted_content)
                events.append(ReasoningSealed(seal, origin, redacted, item.id))
            return events
        case _:
            return []


def _of_part(part: _Part) -> list[Event]:
    if part.refusal is not None:
        return [RefusalDelta(part.refusal)] if part.refusal else []
    events: list[Event] = [TextDelta(part.text)] if part.text else []
    if part.logprobs:
        events.append(LogProbs(tuple(one.canonical() for one in part.logprobs)))
    return events


def _ending(response: _Response, timings: TimingsWire | None, calls: int) -> list[Event]:
    timings = timings or response.timings
    if response.status == "incomplete":
        why = None if response.incomplete_details is None else response.incomplete_details.reason
        reason = FinishReason.REFUSED if why == "content_filter" else FinishReason.LENGTH
    else:
        reason = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
    events: list[Event] = [Finished(reason)]
    if response.usage is not None:
        usage = response.usage
        rates = None if timings is None else timings.canonical()
        events.append(UsageSaid(usage.canonical(), usage.reasoning_tokens(), rates, usage.cache_write_tokens()))
    return events


def _broke(error: _Error) -> Broke:
    return Broke(
        error.message or "the upstream failed and does not say why", None if error.code is None else str(error.code)
    )
