"""A reply of OpenAI's Responses, written: the stream with all its events, or the whole, with all that clients demand.

Source: OpenAI's API reference and the types of its official clients. What the model thought is a summary where the
caller asked for one, for that is where it looks; elsewhere it is the item's own text, as of a model that hides nothing.
Calls may come in parallel, so each stays open until the reply ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from moltbot_edge.core import response_id, sse
from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.dialect import ReplyHead
from moltbot_edge.core.errors import GatewayError, InvalidReply
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
from moltbot_edge.dialects.responses_echo import echo

# The codes that OpenAI's clients know for a response that failed; any other is not theirs.
_ERROR_CODES: Final = frozenset({"server_error", "rate_limit_exceeded", "invalid_prompt"})
# What is said in pieces is said again as a whole at the end, and so it is held: no model says as much.
MOST_CHARS: Final = 16 * 1024 * 1024
_encode = msgspec.json.encode


class _Words(msgspec.Struct):
    """A message that is open. *kind* is that of its part that is open, whose words are *pieces*."""

    id: str
    place: int
    kind: str = ""
    done: list[dict[str, Any]] = []
    pieces: list[str] = []
    logprobs: list[dict[str, Any]] = []
    head: bytes = b""  # of a delta's event, up to its sequence number


class _Thought(msgspec.Struct):
    id: str
    place: int
    pieces: list[str] = []
    head: bytes = b""


class _Call(msgspec.Struct):
    id: str
    place: int
    call_id: str
    name: str
    pieces: list[str] = []
    head: bytes = b""


class ReplyWriter:
    def __init__(self, request: ChatRequest, head: ReplyHead) -> None:
        self._streamed = request.stream
        self._id, self._name = _ids(head)
        self._echo = echo(request, head)
        self._head = head
        self._as_summary = request.thinking is not None and bool(request.thinking.shown)
        self._number = 0
        self._out: list[bytes] = []
        self._output: list[dict[str, Any] | None] = []
        self._words: _Words | None = None
        self._thought: _Thought | None = None
        self._calls: dict[int, _Call] = {}
        self._refused = False
        self._usage: UsageSaid | None = None
        self._finish: FinishReason | None = None
        self._broke: Broke | None = None
        self._began = False
        self._over = False
        self._chars = 0

    def write(self, events: Sequence[Event]) -> bytes:
        if events and not self._began:
            self._begin()
        for place, event in enumerate(events):
            match event:
                case TextDelta(text):
                    after = events[place + 1] if place + 1 < len(events) else None
                    self._say("output_text", text, after.tokens if isinstance(after, LogProbs) else ())
                case ToolCallDelta(index, arguments):
                    self._argue(index, arguments)
                case ReasoningDelta(text):
                    self._think(text)
                case RefusalDelta(text):
                    self._refused = True
                    self._say("refusal", text, ())
                case ToolCallBegan(index, id, name):
                    self._call(index, id, name)
                case ReasoningSealed():
                    self._seal(event)
                case LogProbs(tokens):
                    before = events[place - 1] if place else None
                    if not isinstance(before, TextDelta) and self._words is not None:
                        self._words.logprobs += map(_logprob, tokens)
                case UsageSaid():
                    self._usage = event
                case Finished(reason):
                    self._finish = reason
                    self._close("completed" if self._status() == "completed" else "incomplete")
                case Broke():
                    self._broke = event
                case Began():
                    pass
        return self._sent()

    def end(self) -> bytes:
        if self._over:
            return b""
        if not self._began:
            self._begin()
        self._over = True
        self._close("completed" if self._status() == "completed" else "incomplete")
        status = self._status()
        if not self._streamed:
            return _encode(self._response(status))
        self._emit(f"response.{status}", response=self._response(status))
        return self._sent()

    def fail(self, error: GatewayError) -> bytes:
        if self._over:
            return b""
        self._over = True
        if not self._streamed:
            return error_object(error)
        self._out.append(error_event(error, self._number))
        return self._sent()

    def _begin(self) -> None:
        self._began = True
        if self._streamed:
            response = self._response("in_progress")
            self._emit("response.created", response=response)
            self._emit("response.in_progress", response=response)

    # The items, in the order in which they begin.

    def _say(self, kind: str, text: str, tokens: Sequence[TokenLogProb]) -> None:
        self._close_thought(None)
        words = self._words
        if words is None:
            words = self._words = _Words(self._fresh("msg"), len(self._output))
            self._add({"id": words.id, "type": "message", "status": "in_progress", "role": "assistant", "content": []})
        if words.kind != kind:
            self._close_part(words)
            words.kind = kind
            words.pieces, words.logprobs = [], []
            at = len(words.done)
            self._emit(
                "response.content_part.added",
                item_id=words.id,
                output_index=words.place,
                content_index=at,
                part=_part(kind, "", []),
            )
            words.head = _head(f"response.{kind}.delta", words.id, words.place, b'"content_index":%d' % at)
        words.pieces.append(text)
        self._hold(text)
        said: list[dict[str, Any]] = []
        if tokens:
            said = [_logprob(token) for token in tokens]
            words.logprobs += said
        if self._streamed:
            tail = b"}\n\n" if kind == "refusal" else b',"logprobs":%b}\n\n' % (_encode(said) if said else b"[]")
            self._out.append(b'%b%d,"delta":%b%b' % (words.head, self._number, _encode(text), tail))
            self._number += 1

    def _think(self, text: str) -> None:
        self._close_words("completed")
        thought = self._thought or self._open_thought()
        thought.pieces.append(text)
        self._hold(text)
        if self._streamed:
            self._out.append(b'%b%d,"delta":%b}\n\n' % (thought.head, self._number, _encode(text)))
            self._number += 1

    def _open_thought(self, words: bool = True) -> _Thought:
        thought = self._thought = _Thought(self._fresh("rs"), len(self._output))
        self._add({"id": thought.id, "type": "reasoning", "summary": [], "status": "in_progress"})
        if not words:
            return thought
        kind, index = ("summary", b'"summary_index":0') if self._as_summary else ("text", b'"content_index":0')
        where = {"item_id": thought.id, "output_index": thought.place}
        if self._as_summary:
            part = {"type": "summary_text", "text": ""}
            self._emit("response.reasoning_summary_part.added", **where, summary_index=0, part=part)
            kind = "summary_text"
        else:
            part = {"type": "reasoning_text", "text": ""}
            self._emit("response.content_part.added", **where, content_index=0, part=part)
        thought.head = _head(f"response.reasoning_{kind}.delta", thought.id, thought.place, index)
        return thought

    def _call(self, index: int, call_id: str, name: str) -> None:
        self._close_thought(None)
        self._close_words("completed")
        if index in self._calls:
            return
        id = self._fresh("fc")
        call = self._calls[index] = _Call(id, len(self._output), call_id or f"call_{id.removeprefix('fc_')}", name)
        call.head = _head("response.function_call_arguments.delta", id, call.place, None)
        self._add(_call(call, "", "in_progress"))

    def _argue(self, index: int, arguments: str) -> None:
        call = self._calls.get(index)
        if call is None:
            return
        call.pieces.append(arguments)
        self._hold(arguments)
        if self._streamed:
            self._out.append(b'%b%d,"delta":%b}\n\n' % (call.head, self._number, _encode(arguments)))
            self._number += 1

    def _seal(self, sealed: ReasoningSealed) -> None:
        if self._thought is None:
            self._close_words("completed")
            self._open_thought(words=False)
        self._close_thought(responses_seal.written(sealed.seal, sealed.origin, sealed.redacted))

    def _hold(self, text: str) -> None:
        self._chars += len(text)
        if self._chars > MOST_CHARS:
            raise InvalidReply(f"the reply is longer than {MOST_CHARS} characters")

    # Their ends.

    def _close(self, status: str) -> None:
        """Everything that is open. Of a reply that was cut off, only what was being said is incomplete."""
        self._close_thought(None)
        self._close_words("completed" if self._calls else status)
        for call in self._calls.values():
            self._close_call(call, status)
        self._calls.clear()

    def _close_part(self, words: _Words) -> None:
        if not words.kind:
            return
        text = "".join(words.pieces)
        where: dict[str, Any] = {
            "item_id": words.id,
            "output_index": words.place,
            "content_index": len(words.done),
        }
        part = _part(words.kind, text, words.logprobs)
        words.done.append(part)
        if words.kind == "refusal":
            self._emit("response.refusal.done", **where, refusal=text)
        else:
            self._emit("response.output_text.done", **where, text=text, logprobs=words.logprobs)
        self._emit("response.content_part.done", **where, part=part)

    def _close_words(self, status: str) -> None:
        words, self._words = self._words, None
        if words is None:
            return
        self._close_part(words)
        self._finish_item(
            words.place,
            {"id": words.id, "type": "message", "status": status, "role": "assistant", "content": words.done},
        )

    def _close_thought(self, encrypted: str | None) -> None:
        thought, self._thought = self._thought, None
        if thought is None:
            return
        text = "".join(thought.pieces)
        where: dict[str, Any] = {"item_id": thought.id, "output_index": thought.place}
        item: dict[str, Any] = {"id": thought.id, "type": "reasoning", "summary": [], "status": "completed"}
        if thought.head and self._as_summary:
            part = {"type": "summary_text", "text": text}
            item["summary"] = [part]
            self._emit("response.reasoning_summary_text.done", **where, summary_index=0, text=text)
            self._emit("response.reasoning_summary_part.done", **where, summary_index=0, part=part)
        elif thought.head:
            part = {"type": "reasoning_text", "text": text}
            item["content"] = [part]
            self._emit("response.reasoning_text.done", **where, content_index=0, text=text)
            self._emit("response.content_part.done", **where, content_index=0, part=part)
        if encrypted is not None:
            item["encrypted_content"] = encrypted
        self._finish_item(thought.place, item)

    def _close_call(self, call: _Call, status: str) -> None:
        arguments = "".join(call.pieces) or "{}"
        self._emit(
            "response.function_call_arguments.done",
            item_id=call.id,
            output_index=call.place,
            name=call.name,
            arguments=arguments,
        )
        self._finish_item(call.place, _call(call, arguments, status))

    def _add(self, item: dict[str, Any]) -> None:
        self._emit("response.output_item.added", output_index=len(self._output), item=item)
        self._output.append(None)

    def _finish_item(self, place: int, item: dict[str, Any]) -> None:
        self._output[place] = item
        self._emit("response.output_item.done", output_index=place, item=item)

    # What goes out.

    def _fresh(self, kind: str) -> str:
        return f"{kind}_{self._name}_{len(self._output)}"

    def _status(self) -> str:
        if self._broke is not None:
            return "failed"
        match self._finish:
            case FinishReason.LENGTH:
                return "incomplete"
            case FinishReason.REFUSED if not self._refused:  # by a filter; a model says so in words
                return "incomplete"
            case _:
                return "completed"

    def _response(self, status: str) -> dict[str, Any]:
        said: dict[str, Any] = {
            "id": self._id,
            "object": "response",
            "status": status,
            "completed_at": self._completed_at() if status == "completed" else None,
            "error": None,
            "incomplete_details": None,
            "output": [item for item in self._output if item is not None],
        }
        if self._usage is not None:
            said["usage"] = _usage(self._usage, self._head.left_out_tokens)
        if status == "incomplete":
            reason = "max_output_tokens" if self._finish is FinishReason.LENGTH else "content_filter"
            said["incomplete_details"] = {"reason": reason}
        if self._broke is not None:
            code = self._broke.code if self._broke.code in _ERROR_CODES else "server_error"
            said["error"] = {"code": code, "message": self._broke.message}
        return said | self._echo

    def _completed_at(self) -> int:
        elapsed_s = self._head.elapsed_s
        return self._head.created + (0 if elapsed_s is None else int(elapsed_s()))

    def _emit(self, kind: str, **fields: Any) -> None:
        if self._streamed:
            said = _encode({"type": kind, "sequence_number": self._number, **fields})
            self._out.append(b"event: %b\n%b" % (kind.encode(), sse.event(said)))
            self._number += 1

    def _sent(self) -> bytes:
        sent = b"".join(self._out)
        self._out.clear()
        return sent


def _ids(head: ReplyHead) -> tuple[str, str]:
    """The response's, and what its items' have in them."""
    place = head.place
    if place is not None and place.turn is not None:
        return response_id.written(place.session, place.turn), response_id.place(place.session, place.turn)
    name = head.id.removeprefix("resp_")
    return f"resp_{name}", name


def error_object(error: GatewayError) -> bytes:
    said = {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}
    return _encode({"error": said})


def error_event(error: GatewayError, number: int) -> bytes:
    """What ends a stream. The fields are the event's own; by the object `error` the official clients know to raise."""
    said = {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}
    event = {"type": "error", "sequence_number": number, **said, "error": said}
    return b"event: error\n" + sse.event(_encode(event | {"type": "error"}))


def _head(kind: str, item_id: str, place: int, index: bytes | None) -> bytes:
    name, at = kind.encode(), b"" if index is None else b"," + index
    form = b'event: %b\ndata: {"type":"%b","item_id":%b,"output_index":%d%b,"sequence_number":'
    return form % (name, name, _encode(item_id), place, at)


def _part(kind: str, text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _call(call: _Call, arguments: str, status: str) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function_call",
        "status": status,
        "call_id": call.call_id,
        "name": call.name,
        "arguments": arguments,
    }


def _usage(told: UsageSaid, left_out_tokens: int) -> dict[str, Any]:
    usage = told.usage
    said: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": told.cache_write_tokens or 0,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": told.reasoning_tokens or 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if left_out_tokens:
        said["left_out_tokens"] = left_out_tokens
    return said


def _logprob(token: TokenLogProb) -> dict[str, Any]:
    top = [_one(one) for one in token.top]
    return {**_one(token), "top_logprobs": top}


def _one(token: TokenLogProb) -> dict[str, Any]:
    own = list(token.token.encode("utf-8", "replace")) if token.bytes is None else token.bytes
    return {"token": token.token, "bytes": own, "logprob": token.logprob}
