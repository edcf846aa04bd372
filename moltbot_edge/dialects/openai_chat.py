"""OpenAI's chat dialect and its neighbours: completions, embeddings, rerank. Pure.

Source: OpenAI's API reference; ``timings`` and rerank as ``llama-server`` has them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import msgspec

from moltbot_edge.api import (
    ChatCodec,
    Dialect,
    EmbedCodec,
    GatewayError,
    Head,
    Mender,
    Operation,
    Progress,
    Prompt,
    ReplyHead,
    ReplyObserver,
    ReplyReader,
    Timings,
    Usage,
    dialect,
    read_head,
)
from moltbot_edge.core import sse
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.dialects import openai_prompt, openai_reply
from moltbot_edge.dialects.openai_head import read_chat_head
from moltbot_edge.dialects.openai_usage import TimingsWire, UsageWire
from moltbot_edge.dialects.paths import PATHS

HELD_HEAD_BYTES = 4 * 1024  # llama-server's embeddings say their usage before the vectors
HELD_TAIL_BYTES = 64 * 1024  # everyone else's usage comes last


class _Said(msgspec.Struct):
    """What a reply, or one event of it, says of itself. Everything else in it stays undecoded."""

    usage: UsageWire | None = None
    timings: TimingsWire | None = None


_said = msgspec.json.Decoder(_Said).decode


class _Reader:
    usage: Usage | None = None
    timings: Timings | None = None
    _usage_was_said = False

    def _keep(self, said: _Said) -> None:
        if said.usage is not None:
            self.usage = said.usage.canonical()
            self._usage_was_said = True
        if said.timings is not None:
            self.timings = said.timings.canonical()
            if not self._usage_was_said:  # with `timings_per_token` every event has a count of its own
                self.usage = said.timings.usage() or self.usage


class StreamReader(_Reader):
    def feed(self, data: bytes) -> None:
        # A key's quotes are bare; inside a string they would be escaped. So most events need no decoding.
        if b'"usage"' not in data and b'"timings"' not in data:
            return
        for one in sse.data_of(data):
            try:
                self._keep(_said(one))
            except UNREADABLE:
                continue  # [DONE], or an event that is none of ours to judge

    def end(self) -> None: ...


class WholeReader(_Reader):
    """Keeps no more than the head and tail of a reply, for an answer of embeddings can be megabytes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._head = b""

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > 2 * HELD_TAIL_BYTES:
            all_of_it = b"".join(self._pieces)
            self._head = self._head or all_of_it[:HELD_HEAD_BYTES]
            self._pieces = [all_of_it[-HELD_TAIL_BYTES:]]
            self._size = HELD_TAIL_BYTES

    def end(self) -> None:
        tail = b"".join(self._pieces)
        self._pieces.clear()
        if not self._head:
            try:
                self._keep(_said(tail))
            except UNREADABLE:
                return
            return
        said = {
            key: found
            for key in ("usage", "timings")
            if (found := _last_object(tail, key) or _last_object(self._head, key))
        }
        try:
            self._keep(msgspec.convert(said, _Said))
        except msgspec.ValidationError:
            return


def _last_object(piece: bytes, key: str) -> object | None:
    """The value of the last ``"key": {...}`` in this piece of a JSON text, or None."""
    text = piece.decode("utf-8", "replace")
    at = text.rfind(f'"{key}"')
    start = text.find("{", at)
    if at < 0 or start < 0 or text[at + len(key) + 2 : start].strip() != ":":
        return None
    try:
        found: object = json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None
    return found


CHAT = "/v1/chat/completions"
# What comes with a file comes in parts; pictures may come in JSON, too.
FORMS = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits"})
SOUNDS_OR_TEXT = frozenset({"/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations"})


@dialect("openai-chat")
class OpenAIChat(Dialect):
    name = "openai-chat"
    paths = PATHS["openai-chat"]
    operations: Mapping[str, Operation] = {
        CHAT: Operation.CHAT,
        "/v1/embeddings": Operation.EMBED,
    }
    any_kind = SOUNDS_OR_TEXT
    _codec: ChatCodec | None = None

    def head(self, path: str, content_type: bytes, body: bytes | bytearray) -> Head:
        if path == CHAT:
            return read_chat_head(body)
        if path in FORMS and not body.startswith(b"{"):
            from moltbot_edge.core.multipart import read_form

            return read_form(content_type, body)
        return read_head(body)

    def credentials(self, api_key: str) -> tuple[str, str]:
        return "Authorization", f"Bearer {api_key}"

    def prompt(self, body: bytes | bytearray) -> Prompt:
        return openai_prompt.prompt(body)

    def reader(self, streamed: bool) -> ReplyReader:
        return StreamReader() if streamed else WholeReader()

    def observer(self, streamed: bool) -> ReplyObserver:
        return openai_reply.StreamObserver() if streamed else openai_reply.WholeObserver()

    def mender(self, path: str, streamed: bool, first: bytes, head: Callable[[], ReplyHead]) -> Mender | None:
        from moltbot_edge.dialects import openai_mending

        return openai_mending.mender(path, streamed, first, head)

    def error(self, error: GatewayError) -> bytes:
        said = {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}
        return msgspec.json.encode({"error": said})

    def error_event(self, error: GatewayError) -> bytes:
        # The official clients raise on an event with `error`; [DONE] ends the others.
        return sse.event(self.error(error)) + sse.event(b"[DONE]")

    def ping(self) -> bytes:
        return sse.comment("ping")

    def progress(self, progress: Progress, model: str) -> bytes:
        # Without choices, as the chunk with the usage: clients that know nothing of it pass over it.
        chunk = {"id": "", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": []}
        return sse.event(msgspec.json.encode({**chunk, "progress": progress.said()}))

    def codec(self) -> ChatCodec:
        if self._codec is None:
            from moltbot_edge.dialects.openai_codec import OpenAICodec

            self._codec = OpenAICodec()
        return self._codec

    def embed_codec(self) -> EmbedCodec:
        from moltbot_edge.dialects.openai_embedding import OpenAIEmbedCodec

        return OpenAIEmbedCodec()
