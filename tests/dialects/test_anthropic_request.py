"""What Anthropic's callers ask, read: every field with a meaning of its own, and every fault by its path."""

from __future__ import annotations

import json
from typing import Any

import claude_code
import pytest

from moltbot_edge.core.chat import (
    ChatRequest,
    File,
    Format,
    Image,
    Message,
    Own,
    Reasoning,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.dialects.anthropic_request import COUNT, read

HELLO = {"role": "user", "content": "hello"}
LEAST: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [HELLO]}
ORIGIN = "anthropic-messages"


def reading(path: str = "/v1/messages", **fields: Any) -> ChatRequest:
    return read(path, json.dumps(LEAST | fields).encode())


def of_user(*blocks: dict[str, Any]) -> tuple[Message, ...]:
    return reading(messages=[{"role": "user", "content": blocks}]).messages


def of_assistant(*blocks: dict[str, Any]) -> tuple[Message, ...]:
    return reading(messages=[HELLO, {"role": "assistant", "content": blocks}]).messages[1:]


def test_the_least_request() -> None:
    found = reading()
    assert found == ChatRequest(
        model="m", messages=(Message(Role.USER, (Text(text="hello"),)),), max_tokens=9, origin=ORIGIN
    )


def test_every_field_of_a_meaning_of_its_own() -> None:
    found = reading(
        system="Be short.",
        stream=True,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["END"],
        metadata={"user_id": "u1"},
        tools=[{"name": "look", "description": "Looks", "input_schema": {"type": "object"}, "strict": True}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 2048, "display": "omitted"},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    )
    assert found == ChatRequest(
        model="m",
        messages=(Message(Role.SYSTEM, (Text(text="Be short."),)), Message(Role.USER, (Text(text="hello"),))),
        stream=True,
        tools=(Tool("look", "Looks", b'{"type": "object"}', True),),
        tool_choice=ToolChoice(ToolMode.REQUIRED),
        parallel_tools=False,
        format=Format(schema=b'{"type": "object"}', strict=True),
        thinking=Thinking(effort="low", budget_tokens=2048, shown=False),
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=("END",),
        user="u1",
        origin=ORIGIN,
    )


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"type": "auto"}, ToolChoice(ToolMode.AUTO)),
        ({"type": "any"}, ToolChoice(ToolMode.REQUIRED)),
        ({"type": "none"}, ToolChoice(ToolMode.NONE)),
        ({"type": "tool", "name": "look"}, ToolChoice(ToolMode.REQUIRED, "look")),
    ],
)
def test_a_choice_of_tools(said: dict[str, str], meant: ToolChoice) -> None:
    assert reading(tool_choice=said).tool_choice == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"thinking": {"type": "disabled"}}, Thinking(on=False)),
        ({"thinking": {"type": "adaptive"}}, Thinking()),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, Thinking(shown=True)),
        ({"output_config": {"effort": "max"}}, Thinking(effort="max")),
    ],
)
def test_how_to_think(said: dict[str, Any], meant: Thinking) -> None:
    assert reading(**said).thinking == meant


def test_pictures_and_documents() -> None:
    (message,) = of_user(
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        {"type": "image", "source": {"type": "url", "url": "http://x/a.png"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
            "title": "T",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}, "context": "C"},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
        {"type": "search_result", "title": "T", "source": "http://x", "content": [{"type": "text", "text": "found"}]},
    )
    assert message.parts == (
        Image(media_type="image/png", data="AA=="),
        Image(url="http://x/a.png"),
        Image(id="file_1"),
        File(media_type="application/pdf", data="AA==", name="T"),
        Text(text="C"),
        File(media_type="text/plain", text="words"),
        File(media_type="text/plain", text="a"),
        File(text="found", name="T (http://x)"),
    )


def test_calls_and_results_are_messages_of_their_own() -> None:
    messages = reading(
        messages=[
            HELLO,
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}},
                    {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "seen"},
                    {"type": "tool_result", "tool_use_id": "t2", "is_error": True},
                    {"type": "text", "text": "And?"},
                ],
            },
        ]
    ).messages
    assert messages[1:] == (
        Message(
            Role.ASSISTANT,
            (
                Text(text="I look."),
                ToolCall(id="t1", name="look", arguments='{"at": 1}'),
                ToolCall(id="t2", name="look", arguments="{}"),
            ),
        ),
        Message(Role.TOOL, (ToolResult(id="t1", parts=(Text(text="seen"),)), ToolResult(id="t2", failed=True))),
        Message(Role.USER, (Text(text="And?"),)),
    )


def test_thoughts_and_whose_they_are() -> None:
    (message,) = of_assistant(
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "thinking", "thinking": "An engine's.", "signature": ""},
        {"type": "thinking", "thinking": "Ours.", "signature": "moltbot-edge:"},
        {"type": "thinking", "thinking": "Theirs.", "signature": "moltbot-edge:openai-responses:rs_1:abc:="},
    )
    assert message.parts == (
        Reasoning(text="Hm.", seal="sig", origin=ORIGIN),
        Reasoning(seal="xyz", origin=ORIGIN, redacted=True),
        Reasoning(text="An engine's."),
        Reasoning(text="Ours."),
        Reasoning(text="Theirs.", seal="abc:=", origin="openai-responses", id="rs_1"),
    )


def test_what_anthropics_own_tools_did_is_kept_as_it_came() -> None:
    block = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"type": "web_search_result"}]}
    (message,) = of_assistant(block, {"type": "text", "text": "It rains."})
    own, text = message.parts
    assert isinstance(own, Own)
    assert (own.origin, own.kind, json.loads(own.raw)) == (ORIGIN, "web_search_tool_result", block)
    assert text == Text(text="It rains.")


def test_only_anthropic_can_be_asked_for_its_own_tools() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
    found = reading(tools=[{"name": "look", "input_schema": {"type": "object"}}, search], mcp_servers=[{"url": "x"}])
    assert [tool.name for tool in found.tools] == ["look"]
    assert found.vital == ("mcp_servers", "tools[1]")
    assert json.loads(found.extras["tools[1]"]) == search


def test_what_nobody_else_knows_is_kept_by_its_name() -> None:
    found = reading(service_tier="auto", context_management={"edits": [1]}, session="s1", container=None)
    assert set(found.extras) == {"service_tier", "context_management"}
    assert not found.vital


def test_claude_code() -> None:
    body = claude_code.asked("m")
    found = read("/v1/messages", json.dumps(body).encode())
    assert [message.role for message in found.messages] == [Role.SYSTEM, Role.USER, Role.SYSTEM]
    first, second = found.messages[0].parts
    assert first == Text(text="You are an agent, built on an SDK.", cached=True)
    assert second.cached
    assert set(found.extras) == {"system[0]", "context_management"}
    assert found.thinking == Thinking(effort="high")
    assert [tool.name for tool in found.tools] == list(claude_code.NAMES)
    assert not found.vital


def test_a_count_needs_no_limit() -> None:
    body = json.dumps({"model": "m", "messages": [HELLO]}).encode()
    assert read(COUNT, body).max_tokens is None
    with pytest.raises(InvalidRequest) as caught:
        read("/v1/messages", body)
    assert caught.value.param == "max_tokens"


def block(**fields: Any) -> dict[str, Any]:
    return {"messages": [HELLO, {"role": "user", "content": [fields]}]}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"model": 1}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (block(type="text"), "messages[1].content[0].text"),
        (block(type="riddle"), "messages[1].content[0].type"),
        (block(type="image", source={"type": "base64", "data": 3}), "messages[1].content[0].source.data"),
        (block(type="image", source={"type": "guess"}), "messages[1].content[0].source.type"),
        (block(type="tool_use", id="a", name="b", input={}), "messages[1].content[0].type"),
        (block(type="thinking", thinking="x", signature="y"), "messages[1].content[0].type"),
        (block(type="tool_result"), "messages[1].content[0].tool_use_id"),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": "x"}]}
                ]
            },
            "messages[0].content[0].input",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]},
            "messages[0].content[0].type",
        ),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [{"name": "look"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "hard"}}, "thinking.type"),
        ({"output_config": {"format": {"type": "json_schema", "schema": 1}}}, "output_config.format.schema"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format.type"),
        ({"temperature": 1.5}, "temperature"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"stream": "yes"}, "stream"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
    ],
)
def test_what_is_malformed_is_named_by_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        reading(**fields)
    assert caught.value.param == path


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"messages":[' + b"{}," * 200_000]
)
def test_what_is_no_request_at_all_is_no_crash(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read("/v1/messages", body)
