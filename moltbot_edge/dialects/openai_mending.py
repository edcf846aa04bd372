"""What a reply in OpenAI's shape lacks, put in: ids, ``object``, ``index``, ``finish_reason``, null where nothing is.

For upstreams that leave out what the official clients read without asking. Whatever else they say stays.
Source: OpenAI's API reference, where it says that a field is required.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from moltbot_edge.core import sse
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import ReplyHead

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
EMBEDDINGS: Final = "/v1/embeddings"

BYTES_PER_TOKEN: Final = 4  # of a reply whose tokens nobody counted

Fields = dict[str, Any]
_Object = dict[str, msgspec.Raw]


class _Delta(msgspec.Struct):
    pass


class _Chunk(msgspec.Struct):
    """A stream's first event as it has to be: `finish_reason` has to be there, if only as null."""

    class Choice(msgspec.Struct):
        index: int
        delta: _Delta
        finish_reason: str | None

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[Choice]


class _Completion(msgspec.Struct):
    class Choice(msgspec.Struct):
        class Message(msgspec.Struct):
            role: str
            content: str | None

        index: int
        message: Message
        finish_reason: str

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: _Object


class _Text(msgspec.Struct):
    class Choice(msgspec.Struct):
        index: int
        text: str
        finish_reason: str | None

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[Choice]


class _Vectors(msgspec.Struct):
    class Vector(msgspec.Struct):
        object: Literal["embedding"]
        index: int

    object: Literal["list"]
    model: str
    data: list[Vector]
    usage: _Object


_WHOLE: Final = {
    CHAT: msgspec.json.Decoder(_Completion).decode,
    COMPLETIONS: msgspec.json.Decoder(_Text).decode,
    EMBEDDINGS: msgspec.json.Decoder(_Vectors).decode,
}
_STREAMED: Final = {
    CHAT: msgspec.json.Decoder(_Chunk).decode,
    COMPLETIONS: msgspec.json.Decoder(_Text).decode,
}
_OBJECTS: Final = {
    (CHAT, True): "chat.completion.chunk",
    (CHAT, False): "chat.completion",
    (COMPLETIONS, True): "text_completion",
    (COMPLETIONS, False): "text_completion",
}
_without_choices = re.compile(rb'"choices"\s*:\s*\[\s*\]').search
# These stand in no text: within one their quotes would be escaped. So what is found is a key.
_message = re.compile(rb'"message"\s*:\s*\{\s*(?=")').sub
_finish = re.compile(rb'"finish_reason"\s*:').sub

_object = msgspec.json.Decoder(dict[str, Any]).decode
_json = msgspec.json.encode


class Whole:
    """*right* is all but for what may be null."""

    def __init__(self, path: str, head: Callable[[], ReplyHead], right: bool) -> None:
        self._path = path
        self._head = head
        self._right = right

    def mend(self, data: bytes) -> bytes:
        if self._right:
            return _with_nulls(data)
        try:
            reply = _object(data)
        except UNREADABLE:  # it is the caller's to see
            return data
        if not isinstance(reply.get("data" if self._path == EMBEDDINGS else "choices"), list):
            return data  # whatever it is, it is no such reply
        if self._path == EMBEDDINGS:
            _mend_vectors(reply, self._head())
        else:
            _mend(reply, self._head(), _OBJECTS[self._path, False], self._path == CHAT, streamed=False)
        return _json(reply)

    def end(self) -> bytes:
        return b""


class Stream:
    def __init__(self, path: str, head: ReplyHead) -> None:
        self._path = path
        self._head = head
        self._id: str | None = None
        self._finished = False
        self._done = False

    def mend(self, data: bytes) -> bytes:
        return b"".join([self._mended(one) for one in sse.data_of(data)])

    def _mended(self, data: bytes) -> bytes:
        if data == b"[DONE]":
            self._done = True
            return self._finish() + sse.event(data)
        try:
            chunk = _object(data)
        except UNREADABLE:
            return sse.event(data)
        if not isinstance(chunk.get("choices"), list):
            self._finished = self._finished or "error" in chunk
            return sse.event(data)
        if self._id is None:
            self._id = _known(chunk.get("id")) or f"chatcmpl-{self._head.id}"
        chunk["id"] = _known(chunk.get("id")) or self._id
        if _mend(chunk, self._head, _OBJECTS[self._path, True], self._path == CHAT, streamed=True):
            self._finished = True
        return sse.event(_json(chunk))

    def _finish(self) -> bytes:
        if self._finished or self._id is None or self._path != CHAT:
            return b""
        self._finished = True
        chunk: Fields = {"id": self._id, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        _mend(chunk, self._head, _OBJECTS[CHAT, True], True, streamed=True)
        return sse.event(_json(chunk))

    def end(self) -> bytes:
        return b"" if self._done or not self._finished else sse.event(b"[DONE]")


def mender(path: str, streamed: bool, first: bytes, head: Callable[[], ReplyHead]) -> Whole | Stream | None:
    """For a reply that begins with the events *first*, or is it; None where nothing is lacking."""
    right = (_STREAMED if streamed else _WHOLE).get(path)
    if right is None or (streamed and _without_choices(first)):  # Azure says first what its filters found
        return None
    try:
        right(next(sse.data_of(first), b"") if streamed else first)
    except UNREADABLE:
        return Stream(path, head()) if streamed else Whole(path, head, right=False)
    if streamed or path != CHAT or (b'"refusal"' in first and b'"logprobs"' in first):
        return None
    return Whole(path, head, right=True)


def _with_nulls(reply: bytes) -> bytes:
    """As most servers write JSON, without spaces, a replacement is enough; it takes a tenth of a pattern's time."""
    if b'"refusal"' not in reply:
        before = len(reply)
        reply = reply.replace(b'"message":{"', b'"message":{"refusal":null,"')
        if len(reply) == before:
            reply = _message(lambda found: found[0] + b'"refusal":null,', reply)
    if b'"logprobs"' not in reply:
        before = len(reply)
        reply = reply.replace(b'"finish_reason":', b'"logprobs":null,"finish_reason":')
        if len(reply) == before:
            reply = _finish(lambda found: b'"logprobs":null,' + found[0], reply)
    return reply


def _mend(reply: Fields, head: ReplyHead, kind: str, chat: bool, *, streamed: bool) -> bool:
    """Whether a choice says that it is finished."""
    reply["id"] = _known(reply.get("id")) or f"chatcmpl-{head.id}"
    reply["object"] = kind
    if not isinstance(reply.get("created"), int):
        reply["created"] = head.created
    reply["model"] = _known(reply.get("model")) or head.model
    choices = reply["choices"]
    finished = False
    for place, choice in enumerate(choices):
        if not isinstance(choice, dict):
            continue
        if not isinstance(choice.get("index"), int):
            choice["index"] = place
        if not chat:
            choice.setdefault("text", "")
        elif streamed:
            choice["delta"] = choice["delta"] if isinstance(choice.get("delta"), dict) else choice.pop("message", {})
        else:
            _mend_message(choice)
        choice.setdefault("logprobs", None)
        if not choice.get("finish_reason"):
            calls = not streamed and chat and choice["message"].get("tool_calls")
            choice["finish_reason"] = None if streamed else "tool_calls" if calls else "stop"
        finished = finished or choice["finish_reason"] is not None
    if not streamed and not isinstance(reply.get("usage"), dict):
        reply["usage"] = _estimated(head, choices)
    return finished


def _mend_message(choice: Fields) -> None:
    message = choice["message"] if isinstance(choice.get("message"), dict) else choice.pop("delta", None)
    if not isinstance(message, dict):
        message = {}
    for name, value in (("role", "assistant"), ("content", None), ("refusal", None)):
        message.setdefault(name, value)
    choice["message"] = message


def _mend_vectors(reply: Fields, head: ReplyHead) -> None:
    reply["object"] = "list"
    reply["model"] = _known(reply.get("model")) or head.model
    for place, vector in enumerate(reply["data"]):
        if isinstance(vector, dict):
            vector["object"] = "embedding"
            if not isinstance(vector.get("index"), int):
                vector["index"] = place
    if not isinstance(reply.get("usage"), dict):
        reply["usage"] = {"prompt_tokens": head.prompt_tokens, "total_tokens": head.prompt_tokens}


def _estimated(head: ReplyHead, choices: list[Any]) -> dict[str, int]:
    written = sum(len(msgspec.json.encode(choice)) for choice in choices) // BYTES_PER_TOKEN
    tokens = head.prompt_tokens, written, head.prompt_tokens + written
    return dict(zip(("prompt_tokens", "completion_tokens", "total_tokens"), tokens, strict=True))


def _known(said: object) -> str | None:
    return said if isinstance(said, str) and said else None
