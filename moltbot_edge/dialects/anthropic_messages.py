"""Anthropic's dialect, as callers and upstreams speak it: credentials, errors, what a relayed reply says of itself.

Not its translation, which is in `anthropic_codec`; nor what models there are, which is the server's.
Source: Anthropic's API reference, and the types of its official client.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from moltbot_edge.api import (
    ChatCodec,
    Dialect,
    GatewayError,
    Operation,
    Progress,
    Prompt,
    ReplyObserver,
    ReplyReader,
    dialect,
)
from moltbot_edge.core import sse
from moltbot_edge.dialects import anthropic_errors, anthropic_prompt, anthropic_seal
from moltbot_edge.dialects.anthropic_usage import StreamReader, WholeReader
from moltbot_edge.dialects.paths import PATHS

PING = b'event: ping\ndata: {"type": "ping"}\n\n'


@dialect("anthropic-messages")
class AnthropicMessages(Dialect):
    name = "anthropic-messages"
    paths: Mapping[str, str] = PATHS["anthropic-messages"]
    operations: Mapping[str, Operation] = {
        "/v1/messages": Operation.CHAT,
        "/v1/messages/count_tokens": Operation.COUNT,
    }
    needed: Mapping[str, str] = {"anthropic-version": "2023-06-01"}  # what is translated here is of this one
    id_header = "request-id"

    def foreign(self, body: bytes | bytearray, model: str) -> bool:
        # A conversation that another model has had a turn in. Who else speaks this dialect asks for no signature.
        return "claude" in model and anthropic_seal.foreign(body)

    def credentials(self, api_key: str) -> tuple[str, str]:
        return "x-api-key", api_key

    def prompt(self, body: bytes | bytearray) -> Prompt:
        return anthropic_prompt.prompt(body)

    def reader(self, streamed: bool) -> ReplyReader:
        return StreamReader() if streamed else WholeReader()

    def observer(self, streamed: bool) -> ReplyObserver:
        from moltbot_edge.dialects.impressions import EventObserver  # only where a policy learns

        return EventObserver(self.codec().event_reader(streamed), streamed)

    def error(self, error: GatewayError) -> bytes:
        return anthropic_errors.error_object(error)

    def error_event(self, error: GatewayError) -> bytes:
        return anthropic_errors.error_event(error)

    def ping(self) -> bytes:
        return PING

    def progress(self, progress: Progress, model: str) -> bytes:
        return b"event: ping\n" + sse.event(msgspec.json.encode({"type": "ping", "progress": progress.said()}))

    def codec(self) -> ChatCodec:
        from moltbot_edge.dialects.anthropic_codec import AnthropicCodec

        return AnthropicCodec()

    def count_reply(self, tokens: int) -> bytes:
        return msgspec.json.encode({"input_tokens": tokens})
