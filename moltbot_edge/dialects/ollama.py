"""Ollama's own dialect, as callers and upstreams speak it: heads, errors, and what a relayed reply says of itself.

Not its translation, which is in `ollama_codec` and `ollama_embedding`; nor what tells of models (``/api/tags`` and its
neighbours), which is the server's. Source: Ollama's API documentation, and what its server sends. A stream is NDJSON:
one JSON object a line, the last of them with ``"done": true``. Durations are nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from moltbot_edge.api import (
    NDJSON,
    ChatCodec,
    Dialect,
    EmbedCodec,
    GatewayError,
    Head,
    Impression,
    InvalidRequest,
    Operation,
    Progress,
    Prompt,
    ReplyObserver,
    ReplyReader,
    Timings,
    Usage,
    dialect,
    read_head,
)
from moltbot_edge.core.decoding import MOST_OBJECTS, UNREADABLE
from moltbot_edge.core.prompt import own_words
from moltbot_edge.dialects.paths import PATHS

LATEST = ":latest"  # what a name without a tag means
JUDGED_BYTES = 256 * 1024  # of a whole reply; a longer one is not judged
READ_BYTES = 4 * 1024 * 1024  # of a whole reply; the counts of a longer one, of embeddings, are not read
MOST_TOKENS = 10**9
MOST_NANOSECONDS = 2**63 - 1  # as Go's durations go
LEAST_RATE, MOST_RATE = 1e-3, 1e7  # tokens a second: what nobody measures is not believed
NANO = 1e9

# Both official clients, for chat and for generate, read this as a piece of an answer in which nothing is said.
PING = (
    b'{"model":"","created_at":"1970-01-01T00:00:00Z",'
    b'"message":{"role":"assistant","content":""},"response":"","done":false}\n'
)


class _Streams(msgspec.Struct):
    stream: bool | None = None


class _Context(msgspec.Struct):
    context: msgspec.Raw = msgspec.Raw(b"")


class _Asked(msgspec.Struct):
    """Of a chat, of generate, of embeddings."""

    messages: list[_Message] | None = None
    prompt: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"")
    images: msgspec.Raw = msgspec.Raw(b"")
    tools: msgspec.Raw = msgspec.Raw(b"")
    options: msgspec.Raw = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    images: msgspec.Raw = msgspec.Raw(b"")


class _Limit(msgspec.Struct):
    num_predict: int | None = None


class Counts(msgspec.Struct):
    """What the last line of a stream, or a whole reply, says of itself. Everything else in it stays undecoded."""

    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None

    def usage(self) -> Usage | None:
        if self.prompt_eval_count is None and self.eval_count is None:
            return None
        return Usage(_tokens(self.prompt_eval_count), _tokens(self.eval_count))

    def timings(self) -> Timings | None:
        timings = Timings(
            _rate(self.prompt_eval_count, self.prompt_eval_duration), _rate(self.eval_count, self.eval_duration)
        )
        return timings if timings != Timings() else None


class _Judged(msgspec.Struct):
    message: _Said | None = None
    response: str | None = None
    done_reason: str | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


_streams = msgspec.json.Decoder(_Streams).decode
_context = msgspec.json.Decoder(_Context).decode
_asked = msgspec.json.Decoder(_Asked).decode
_limit = msgspec.json.Decoder(_Limit).decode
_counts = msgspec.json.Decoder(Counts).decode
_judged = msgspec.json.Decoder(_Judged).decode
_texts = msgspec.json.Decoder(str | list[str]).decode


def _tokens(said: int | None) -> int:
    return min(max(said or 0, 0), MOST_TOKENS)


def _rate(count: int | None, nanoseconds: int | None) -> float:
    if not count or not nanoseconds or count < 0 or nanoseconds < 0:
        return 0.0
    rate = _tokens(count) / min(nanoseconds, MOST_NANOSECONDS) * NANO
    return rate if LEAST_RATE <= rate <= MOST_RATE else 0.0


class _Reader:
    usage: Usage | None = None
    timings: Timings | None = None

    def _keep(self, data: bytes) -> None:
        try:
            counts = _counts(data)
        except UNREADABLE:
            return
        self.usage = counts.usage() or self.usage
        self.timings = counts.timings() or self.timings


class StreamReader(_Reader):
    def feed(self, data: bytes) -> None:
        # A key's quotes are bare; inside a string they would be escaped. So only the last line is decoded.
        if b'eval_count"' in data:
            for line in data.splitlines():
                if b'eval_count"' in line:
                    self._keep(line)

    def end(self) -> None: ...


class WholeReader(_Reader):
    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= READ_BYTES:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    def end(self) -> None:
        if self._pieces:
            self._keep(b"".join(self._pieces))
            self._pieces.clear()


class _Observer:
    """Ollama sends the arguments of a tool call as JSON, so they are never broken."""

    reply_id: str | None = None  # its replies have none

    def __init__(self) -> None:
        self._is_chat = False
        self._says_something = False
        self._finish: str | None = None

    def impression(self) -> Impression | None:
        if not self._is_chat:
            return None
        return Impression(empty=not self._says_something, cut_off=self._finish == "length", broken_call=False)

    def _see(self, data: bytes) -> None:
        try:
            judged = _judged(data)
        except UNREADABLE:
            return
        words, calls = judged.response, None
        if judged.message is not None:
            words, calls = judged.message.content, judged.message.tool_calls
        self._is_chat = self._is_chat or judged.message is not None or judged.response is not None
        self._says_something = self._says_something or bool(calls) or bool((words or "").strip())
        self._finish = judged.done_reason or self._finish


class StreamObserver(_Observer):
    def feed(self, data: bytes) -> None:
        for line in data.splitlines():
            self._see(line)


class WholeObserver(_Observer):
    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        self._pieces.append(data)
        if self._size > JUDGED_BYTES:
            self._pieces.clear()

    def impression(self) -> Impression | None:
        self._see(b"".join(self._pieces))
        return super().impression()


def prompt(body: bytes | bytearray) -> Prompt:
    """A body that is no request of this dialect asks nothing."""
    if len(body) > MOST_OBJECTS and body.count(b"{") > MOST_OBJECTS:
        return Prompt()
    try:
        asked = _asked(body)
        limit = _limit(asked.options).num_predict if _holds(asked.options) else None
        inputs = _texts(asked.input) if _holds(asked.input) else ""
    except UNREADABLE:
        return Prompt()
    limited = limit is not None and limit > 0
    if asked.messages is None:
        whole = asked.prompt or (inputs if isinstance(inputs, str) else "\n".join(inputs))
        text, chars = own_words(whole)
        return Prompt(text, chars=chars, turns=1, messages=1, images=_holds(asked.images), limited=limited)
    questions = [message.content or "" for message in asked.messages if message.role == "user"]
    text, chars = own_words(questions[-1]) if questions else ("", 0)
    return Prompt(
        text=text,
        before=own_words(questions[-2])[0] if len(questions) > 1 else "",
        chars=chars,
        turns=len(questions),
        messages=len(asked.messages),
        tools=_holds(asked.tools),
        images=any(_holds(message.images) for message in asked.messages),
        limited=limited,
    )


def _going_on(head: Head, body: bytes | bytearray) -> dict[str, object]:
    """What *body* says by its ``context``: an empty one asks to be kept. An Ollama's own stays what it is."""
    from moltbot_edge.dialects import ollama_context

    said = ollama_context.of_field(_context(body).context)
    if said is None or head.session is not None:
        return {}
    if not said:
        return {"keeps": True}
    found = ollama_context.read(said)
    if found is None:
        return {}
    session, turn = found
    return {"session": session, "parent": turn, "asked_by": "context"}


def _holds(field: msgspec.Raw) -> bool:
    return bytes(memoryview(field)[:5]) not in (b"", b"null", b"[]", b"{}")


@dialect("ollama")
class Ollama(Dialect):
    name = "ollama"
    paths: Mapping[str, str] = PATHS["ollama"]
    operations: Mapping[str, Operation] = {
        "/api/chat": Operation.CHAT,
        "/api/generate": Operation.CHAT,
        "/api/embed": Operation.EMBED,
        "/api/embeddings": Operation.EMBED,
    }
    stream_type = NDJSON

    def head(self, path: str, content_type: bytes, body: bytes | bytearray) -> Head:
        """A chat is streamed unless its caller says no, and ``name:latest`` is ``name``."""
        head = read_head(body)
        changes: dict[str, object] = {}
        if head.model.endswith(LATEST):
            if head.model == LATEST:
                raise InvalidRequest(
                    "the field `model` is only a tag; GET /api/tags lists what there is", param="model"
                )
            changes["model"] = head.model.removesuffix(LATEST)
        if self.operations[path] is not Operation.CHAT:
            changes["stream"] = False
        elif not head.stream and (b'"stream"' not in body or _streams(body).stream is None):
            changes["stream"] = True
        if b'"context"' in body and path == "/api/generate":  # inside a text the quotes would be escaped
            changes |= _going_on(head, body)
        return msgspec.structs.replace(head, **changes) if changes else head

    def credentials(self, api_key: str) -> tuple[str, str]:
        return "Authorization", f"Bearer {api_key}"

    def prompt(self, body: bytes | bytearray) -> Prompt:
        return prompt(body)

    def reader(self, streamed: bool) -> ReplyReader:
        return StreamReader() if streamed else WholeReader()

    def observer(self, streamed: bool) -> ReplyObserver:
        return StreamObserver() if streamed else WholeObserver()

    def error(self, error: GatewayError) -> bytes:
        """There is one text and no more: so the field's path is in it."""
        at = f"{error.param}: " if error.param is not None and error.param not in error.message else ""
        return msgspec.json.encode({"error": at + error.message})

    def error_event(self, error: GatewayError) -> bytes:
        # Both official clients raise on a line with `error`.
        return self.error(error) + b"\n"

    def ping(self) -> bytes:
        return PING

    def progress(self, progress: Progress, model: str) -> bytes:
        return PING.removesuffix(b"}\n") + b',"progress":%b}\n' % msgspec.json.encode(progress.said())

    def codec(self) -> ChatCodec:
        from moltbot_edge.dialects.ollama_codec import OllamaCodec

        return OllamaCodec()

    def embed_codec(self) -> EmbedCodec:
        from moltbot_edge.dialects.ollama_embedding import OllamaEmbedCodec

        return OllamaEmbedCodec()
