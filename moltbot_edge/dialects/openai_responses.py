"""OpenAI's Responses, ``/v1/responses``: what passes by when nobody translates. Pure.

Source: OpenAI's API reference. Its error object is the chat dialect's; its streams end by an event, not by [DONE].
Translation is in `responses_codec`, which a relay does not import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from moltbot_edge.api import (
    Dialect,
    GatewayError,
    Progress,
    Prompt,
    ReplyObserver,
    ReplyReader,
    dialect,
)
from moltbot_edge.core import sse
from moltbot_edge.core.decoding import MOST_OBJECTS, UNREADABLE
from moltbot_edge.core.dialect import Operation
from moltbot_edge.core.head import Head, Wire, head_of, read_wire
from moltbot_edge.core.prompt import own_words
from moltbot_edge.dialects.paths import PATHS
from moltbot_edge.dialects.responses_usage import UsageReader

if TYPE_CHECKING:
    from moltbot_edge.core.dialect import ChatCodec, Mender, ReplyHead


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    role: str | None = None
    content: str | list[_Part] | None = None


class _Asked(msgspec.Struct):
    input: str | list[_Item] = ""
    tools: list[msgspec.Raw] | None = None
    max_output_tokens: int | None = None


class KeepingWire(Wire):
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw = msgspec.Raw(b"")


_keeping = msgspec.json.Decoder(KeepingWire).decode
_asked = msgspec.json.Decoder(_Asked).decode


@dialect("openai-responses")
class OpenAIResponses(Dialect):
    name = "openai-responses"
    paths: Mapping[str, str] = PATHS["openai-responses"]
    operations: Mapping[str, Operation] = {
        "/v1/responses": Operation.CHAT,
        "/v1/responses/input_tokens": Operation.COUNT,
    }
    beside = "openai-chat"  # their maker has embeddings, sounds and pictures at the same address

    def head(self, path: str, content_type: bytes, body: bytes | bytearray) -> Head:
        """With the session that *body* goes on with, or begins: unless ``store`` says no, it is kept."""
        wire = read_wire(body, _keeping)
        head = head_of(wire)
        if self.operations[path] is not Operation.CHAT:
            return head
        if wire.store is False and wire.previous_response_id is None and not bytes(wire.conversation):
            return head
        from moltbot_edge.dialects.responses_keeping import kept

        return kept(head, wire, body)

    def foreign(self, body: bytes | bytearray, model: str) -> bool:
        # The seal of a thought of Claude's, as `responses_seal` hands it to callers: OpenAI cannot open it.
        return b'"anthropic-messages:' in body

    def credentials(self, api_key: str) -> tuple[str, str]:
        return "Authorization", f"Bearer {api_key}"

    def prompt(self, body: bytes | bytearray) -> Prompt:
        return prompt(body)

    def reader(self, streamed: bool) -> ReplyReader:
        return UsageReader(streamed)

    def observer(self, streamed: bool) -> ReplyObserver:
        from moltbot_edge.dialects.impressions import EventObserver

        return EventObserver(self.codec().event_reader(streamed), streamed)

    def mender(self, path: str, streamed: bool, first: bytes, head: Callable[[], ReplyHead]) -> Mender | None:
        if self.operations[path] is not Operation.CHAT:
            return None
        from moltbot_edge.dialects import responses_mending

        return responses_mending.mender(streamed, first, head)

    def error(self, error: GatewayError) -> bytes:
        said = {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}
        return msgspec.json.encode({"error": said})

    def error_event(self, error: GatewayError) -> bytes:
        from moltbot_edge.dialects.responses_reply import error_event

        return error_event(error, 0)

    def ping(self) -> bytes:
        return sse.comment("ping")

    def progress(self, progress: Progress, model: str) -> bytes:
        # A comment: its clients refuse an event whose type they do not know, and its events are numbered.
        return sse.comment(f"progress {msgspec.json.encode(progress.said()).decode()}")

    def codec(self) -> ChatCodec:
        from moltbot_edge.dialects.responses_codec import codec

        return codec()

    def count_reply(self, tokens: int) -> bytes:
        return b'{"object":"response.input_tokens","input_tokens":%d}' % tokens


def prompt(body: bytes | bytearray) -> Prompt:
    """A body that is none of these asks nothing."""
    if len(body) > MOST_OBJECTS and body.count(b"{") > MOST_OBJECTS:
        return Prompt()
    try:
        asked = _asked(body)
    except UNREADABLE:
        return Prompt()
    limited = asked.max_output_tokens is not None
    tools = bool(asked.tools)
    if isinstance(asked.input, str):
        text, chars = own_words(asked.input)
        return Prompt(text, chars=chars, turns=1, messages=1, tools=tools, limited=limited)
    questions = [item for item in asked.input if item.role == "user"]
    text, chars = own_words(_words(questions[-1])) if questions else ("", 0)
    return Prompt(
        text=text,
        before=own_words(_words(questions[-2]))[0] if len(questions) > 1 else "",
        chars=chars,
        turns=len(questions),
        messages=len(asked.input),
        tools=tools,
        images=any(
            part.type == "input_image"
            for item in asked.input
            if isinstance(item.content, list)
            for part in item.content
        ),
        limited=limited,
    )


def _words(item: _Item) -> str:
    if isinstance(item.content, list):
        return "\n".join(part.text for part in item.content if part.text)
    return item.content or ""
