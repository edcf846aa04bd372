"""Events -> a reply in OpenAI's chat shape: a stream of chunks, or a whole one. Pure.

Source: OpenAI's API reference; thoughts as DeepSeek, llama-server and vLLM say them. What the official clients demand
is always there: ``id``, ``object``, ``created``, ``index``, ``finish_reason``, and null where there is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.dialect import ReplyHead
from moltbot_edge.core.errors import GatewayError
from moltbot_edge.core.events import Usage
from moltbot_edge.core.reply import (
    Began,
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

DONE: Final = b"data: [DONE]\n\n"
REASONS: Final = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.REFUSED: "content_filter",
}

_json = msgspec.json.encode


def error_object(error: GatewayError) -> bytes:
    said = {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}
    return _json({"error": said})


class StreamAnswer:
    """What is the same in every chunk is written once."""

    def __init__(self, request: ChatRequest, head: ReplyHead) -> None:
        opening = {"id": f"chatcmpl-{head.id}", "object": "chat.completion.chunk", "created": head.created}
        self._opening = b"data: " + _json(opening | {"model": head.model})[:-1]
        self._before = self._opening + b',"choices":[{"index":0,"delta":'
        self._no_usage = b',"usage":null' if request.usage_in_stream else b""
        self._after = b',"logprobs":null,"finish_reason":null}]%b}\n\n' % self._no_usage
        self._tells_usage = request.usage_in_stream
        self._left_out_tokens = head.left_out_tokens
        self._text = self._before + b'{"content":'
        self._text_end = b"}" + self._after
        self._begun = False
        self._finished = False
        self._usage: UsageSaid | None = None
        self._bare: dict[int, None] = {}  # calls whose arguments have not begun

    def write(self, events: Sequence[Event]) -> bytes:
        pieces: list[bytes] = []
        if not self._begun:
            self._begun = True
            pieces += self._before, b'{"role":"assistant","content":"","refusal":null}', self._after
        last = len(events) - 1
        for place, event in enumerate(events):
            kind = type(event)
            if kind is TextDelta:
                probable = events[place + 1] if place < last and type(events[place + 1]) is LogProbs else None
                if probable is None:
                    pieces += self._text, _json(event.text), self._text_end  # type: ignore[union-attr]
                else:
                    self._with_log_probs(event.text, probable, pieces)  # type: ignore[union-attr, arg-type]
            else:
                self._other(event, pieces, place > 0 and type(events[place - 1]) is TextDelta)
        return b"".join(pieces)

    def _other(self, event: Event, pieces: list[bytes], after_text: bool) -> None:
        match event:
            case ReasoningDelta(text):
                self._delta({"reasoning_content": text}, pieces)
            case RefusalDelta(text):
                self._delta({"refusal": text}, pieces)
            case ToolCallBegan(index, call_id, name):
                self._bare[index] = None
                function = {"name": name, "arguments": ""}
                self._delta(
                    {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]}, pieces
                )
            case ToolCallDelta(index, arguments):
                self._bare.pop(index, None)
                self._delta({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}, pieces)
            case LogProbs() if not after_text:
                self._with_log_probs("", event, pieces)
            case UsageSaid():
                self._usage = event
            case Finished(reason):
                self._finish(REASONS[reason], pieces)

    def _delta(self, delta: dict[str, Any], pieces: list[bytes]) -> None:
        pieces += self._before, _json(delta), self._after

    def _with_log_probs(self, text: str, found: LogProbs, pieces: list[bytes]) -> None:
        said = {"content": [_log_prob(one) for one in found.tokens], "refusal": None}
        after = b',"finish_reason":null}]%b}\n\n' % self._no_usage
        pieces += self._text, _json(text), b'},"logprobs":', _json(said), after

    def _finish(self, reason: str, pieces: list[bytes]) -> None:
        self._finished = True
        for index in self._bare:  # no arguments: clients read them as JSON
            self._delta({"tool_calls": [{"index": index, "function": {"arguments": "{}"}}]}, pieces)
        pieces += self._before, b'{},"logprobs":null,"finish_reason":"', reason.encode(), b'"}]', self._no_usage
        pieces.append(b"}\n\n")

    def end(self) -> bytes:
        pieces: list[bytes] = [] if self._begun else [self.write(())]
        if not self._finished:
            self._finish("stop", pieces)
        if self._tells_usage:
            usage = _usage(self._usage, self._left_out_tokens)
            pieces += self._opening, b',"choices":[],"usage":', _json(usage), b"}\n\n"
        pieces.append(DONE)
        return b"".join(pieces)

    def fail(self, error: GatewayError) -> bytes:
        # The official clients raise on an event with `error`; [DONE] ends the others.
        return b"data: " + error_object(error) + b"\n\n" + DONE


class WholeAnswer:
    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._thoughts: list[str] = []
        self._calls: dict[int, tuple[str, str, list[str]]] = {}
        self._tokens: list[dict[str, Any]] = []
        self._usage: UsageSaid | None = None
        self._reason: FinishReason | None = None

    def write(self, events: Sequence[Event]) -> bytes:
        for event in events:
            match event:  # what every reply has comes first
                case Began():
                    pass
                case TextDelta(text):
                    self._text.append(text)
                case UsageSaid():
                    self._usage = event
                case Finished(reason):
                    self._reason = reason
                case ReasoningDelta(text):
                    self._thoughts.append(text)
                case RefusalDelta(text):
                    self._refusal.append(text)
                case ToolCallBegan(index, call_id, name):
                    self._calls[index] = (call_id, name, [])
                case ToolCallDelta(index, arguments):
                    self._calls[index][2].append(arguments)
                case LogProbs(tokens):
                    self._tokens += [_log_prob(one) for one in tokens]
        return b""

    def end(self) -> bytes:
        head = self._head
        text, refusal = "".join(self._text), "".join(self._refusal)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if text or not (self._calls or refusal) else None,
            "refusal": refusal or None,
        }
        if self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        if self._calls:
            message["tool_calls"] = [
                {"id": call_id, "type": "function", "function": {"name": name, "arguments": "".join(pieces) or "{}"}}
                for call_id, name, pieces in self._calls.values()
            ]
        reason = self._reason or (FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP)
        choice = {
            "index": 0,
            "message": message,
            "logprobs": {"content": self._tokens, "refusal": None} if self._tokens else None,
            "finish_reason": REASONS[reason],
        }
        return _json(
            {
                "id": f"chatcmpl-{head.id}",
                "object": "chat.completion",
                "created": head.created,
                "model": head.model,
                "choices": [choice],
                "usage": _usage(self._usage, head.left_out_tokens),
            }
        )

    def fail(self, error: GatewayError) -> bytes:
        return error_object(error)


def _usage(told: UsageSaid | None, left_out_tokens: int) -> dict[str, Any]:
    usage = Usage() if told is None else told.usage
    said: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
    if told is not None and told.reasoning_tokens is not None:
        said["completion_tokens_details"] = {"reasoning_tokens": told.reasoning_tokens}
    if left_out_tokens:
        said["left_out_tokens"] = left_out_tokens
    return said


def _log_prob(one: TokenLogProb) -> dict[str, Any]:
    said = {"token": one.token, "logprob": one.logprob, "bytes": one.bytes}
    return said | {
        "top_logprobs": [{"token": top.token, "logprob": top.logprob, "bytes": top.bytes} for top in one.top]
    }
