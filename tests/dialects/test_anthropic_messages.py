"""What a relay of Anthropic's dialect sees go by, and what the gateway itself says in it."""

from __future__ import annotations

import json
from pathlib import Path

import claude_code
import pytest
from anthropic.types.shared import ErrorResponse

from moltbot_edge.core.errors import (
    BodyTooLarge,
    GatewayError,
    InvalidRequest,
    Overloaded,
    Unauthenticated,
    UnknownModel,
    Unreachable,
    UpstreamRefused,
    UpstreamTimeout,
    leaves,
)
from moltbot_edge.core.events import Usage
from moltbot_edge.core.prompt import Prompt
from moltbot_edge.dialects.anthropic_messages import AnthropicMessages

FOLDER = Path(__file__).parents[1] / "recordings" / "anthropic_messages"
dialect = AnthropicMessages()


@pytest.mark.parametrize("name", ["plain.sse", "plain.json", "tools_llama_server.sse", "reasoning.json"])
def test_a_relayed_reply_says_what_it_used(name: str) -> None:
    body, streamed = (FOLDER / name).read_bytes(), name.endswith(".sse")
    reader = dialect.reader(streamed)
    if streamed:
        for event in body.split(b"\n\n"):
            reader.feed(event + b"\n\n")
    else:
        for at in range(0, len(body), 100):
            reader.feed(body[at : at + 100])
    reader.end()
    events = dialect.codec().event_reader(streamed)
    said = [*events.feed(body), *events.end()]
    usage = [event.usage for event in said if hasattr(event, "usage")]
    assert reader.usage == usage[-1]
    assert reader.usage != Usage()


@pytest.mark.parametrize("data", [b'data: {"usage": 5}\n\n', b'data: "usage"\n\n', b'data: {"usage"\n\n'])
def test_what_is_no_usage_is_passed_over(data: bytes) -> None:
    for reader in (dialect.reader(True), dialect.reader(False)):
        reader.feed(data)
        reader.end()
        assert reader.usage is None


def test_an_observer_knows_an_empty_reply_and_a_cut_one() -> None:
    observer = dialect.observer(False)
    observer.feed(b'{"id": "msg_1", "content": [], "stop_reason": "max_tokens"}')
    found = observer.impression()
    assert found is not None
    assert (found.empty, found.cut_off, observer.reply_id) == (True, True, "msg_1")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("no", param="messages[0].content"), "invalid_request_error"),
        (Unauthenticated("no"), "authentication_error"),
        (UnknownModel("no"), "not_found_error"),
        (BodyTooLarge("no"), "request_too_large"),
        (Overloaded("no"), "overloaded_error"),
        (Unreachable("no"), "api_error"),
        (UpstreamTimeout("no"), "timeout_error"),
        (UpstreamRefused("no", answered=429, body=b"", content_type=b""), "rate_limit_error"),
        (UpstreamRefused("no", answered=401, body=b"", content_type=b""), "api_error"),
    ],
)
def test_an_error_is_of_the_kind_that_clients_know(error: GatewayError, kind: str) -> None:
    said = json.loads(dialect.error(error))
    assert (said["type"], said["error"]["type"]) == ("error", kind)
    if error.param is not None:
        assert error.param in said["error"]["message"]


@pytest.mark.parametrize("error", leaves(), ids=lambda error: error.__name__)
def test_every_error_can_be_said_whole_and_in_a_stream(error: type[GatewayError]) -> None:
    if error is UpstreamRefused:
        made: GatewayError = UpstreamRefused("no", answered=400, body=b"", content_type=b"")
    else:
        made = error("what went wrong")
    if made.status != 413:  # its kind is in the reference and not among the client's types
        ErrorResponse.model_validate_json(dialect.error(made), strict=True)
    assert dialect.error_event(made) == b"event: error\ndata: " + dialect.error(made) + b"\n\n"


def test_what_is_asked_are_the_users_last_words() -> None:
    assert dialect.prompt(json.dumps(claude_code.asked("m")).encode()) == Prompt(
        claude_code.QUESTION, chars=len(claude_code.QUESTION) + 1, turns=1, messages=2, tools=True
    )
    image = {"type": "image", "source": {"type": "url", "url": "http://x"}}
    messages = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "well"},
        {"role": "user", "content": [image, {"type": "text", "text": "second"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]},
    ]
    found = dialect.prompt(json.dumps({"messages": messages}).encode())
    assert (found.text, found.before, found.turns, found.messages) == ("second", "first", 2, 5)
    assert found.images
    assert not found.tools


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"messages": 5}', b'{"messages":[' + b"{}," * 200_000])
def test_what_is_no_request_asks_nothing(body: bytes) -> None:
    assert dialect.prompt(body) == Prompt()


def test_a_thought_that_claude_did_not_sign_is_seen_from_afar() -> None:
    body = b'{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"%b"}]}]}'
    assert dialect.foreign(body % b"moltbot-edge:", "claude-opus-4-6")
    assert dialect.foreign(body % b"", "claude-opus-4-6")
    assert not dialect.foreign(body % b"EqkCCkYICRgC", "claude-opus-4-6")
    assert not dialect.foreign(body % b"", "qwen3")  # nobody but Claude asks for a signature
