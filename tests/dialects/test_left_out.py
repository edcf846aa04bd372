"""What a reply says of a conversation that was longer than its model takes, in each dialect and to its own client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Usage as AnthropicUsage
from ollama import ChatResponse
from openai.types import CompletionUsage
from openai.types.responses import ResponseUsage

from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.dialect import Dialect, ReplyHead
from moltbot_edge.core.events import Usage
from moltbot_edge.core.reply import Began, Event, Finished, FinishReason, TextDelta, UsageSaid
from moltbot_edge.dialects.anthropic_messages import AnthropicMessages
from moltbot_edge.dialects.ollama import Ollama
from moltbot_edge.dialects.openai_chat import OpenAIChat
from moltbot_edge.dialects.openai_responses import OpenAIResponses

REPLY: list[Event] = [Began(), TextDelta("Yes."), UsageSaid(Usage(10, 2)), Finished(FinishReason.STOP)]
OF_DIALECTS = [
    (OpenAIChat(), "/v1/chat/completions", "usage", CompletionUsage),
    (OpenAIResponses(), "/v1/responses", "usage", ResponseUsage),
    (AnthropicMessages(), "/v1/messages", "usage", AnthropicUsage),
    (Ollama(), "/api/chat", None, ChatResponse),
    (Ollama(), "/api/generate", None, None),
]


def written(dialect: Dialect, path: str, left_out_tokens: int, *, stream: bool) -> bytes:
    request = ChatRequest(model="chat", messages=(), stream=stream, usage_in_stream=stream)
    head = ReplyHead("1", 1, "chat", left_out_tokens=left_out_tokens)
    writer = dialect.codec().event_writer(request, head, path)
    return writer.write(REPLY) + writer.end()


@pytest.mark.parametrize(("dialect", "path", "field", "client"), OF_DIALECTS)
def test_usage_says_how_much_was_left_out(dialect: Dialect, path: str, field: str | None, client: Any) -> None:
    said = json.loads(written(dialect, path, 3480, stream=False))
    usage = said if field is None else said[field]
    assert usage["left_out_tokens"] == 3480
    if client is not None:
        client.model_validate(usage)


@pytest.mark.parametrize(("dialect", "path", "field", "client"), OF_DIALECTS)
def test_a_streams_usage_says_it_too(dialect: Dialect, path: str, field: str | None, client: Any) -> None:
    assert b'"left_out_tokens":3480' in written(dialect, path, 3480, stream=True)


@pytest.mark.parametrize(("dialect", "path", "field", "client"), OF_DIALECTS)
def test_where_nothing_was_left_out_nothing_is_said(
    dialect: Dialect, path: str, field: str | None, client: Any
) -> None:
    assert b"left_out" not in written(dialect, path, 0, stream=False)
    assert b"left_out" not in written(dialect, path, 0, stream=True)
