"""What is malformed is a 400 that names the field, also where it would have been relayed; never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness import config, serving
from raw_caller import QUESTION
from scripted_upstream import answers, says, upstream

pytestmark = pytest.mark.anyio

USER = {"role": "user", "content": "hello"}
FAILED = answers(500, '{"error":{"code":500,"message":"key \'text\' not found","type":"server_error"}}')
REFUSED = answers(400, '{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}')
NAMED = answers(400, '{"error":{"message":"no","type":"invalid_request_error","param":"user","code":null}}')
TOO_LONG = answers(400, '{"error":{"message":"exceeds the context length","type":"invalid_request_error"}}')


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [USER, {"content": "x"}]}, "messages[1].role"),
        ({"messages": [USER, {"role": 3}]}, "messages[1].role"),
        ({"messages": [{"role": ""}]}, "messages[0].role"),
        ({"temperature": "warm"}, "temperature"),
        ({"max_tokens": "x"}, "max_tokens"),
        ({"stop": 3}, "stop"),
        ({"stop": [3]}, "stop[0]"),
        ({"n": "x"}, "n"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"stream": "x"}, "stream"),
    ],
)
async def test_what_every_server_needs_is_seen_before_anybody_is_asked(fields: dict[str, Any], param: str) -> None:
    async with upstream(says()) as box, serving(config(box)) as gateway:
        answer = await gateway.ask(QUESTION | fields)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["param"] == param
    assert not box.asked


async def test_a_request_without_messages_names_them() -> None:
    async with upstream(REFUSED) as box, serving(config(box)) as gateway:
        answer = await gateway.ask({"model": "chat"})
    assert (answer.status, answer.error["param"]) == (400, "messages")


@pytest.mark.parametrize("script", [FAILED, REFUSED], ids=["500", "400"])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "x"}]}]},
            "messages[1].tool_calls[0].function",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ],
)
async def test_what_an_upstream_fails_at_is_said_with_its_field(fields: Any, param: str, script: Any) -> None:
    async with upstream(script) as first, upstream(script) as second, serving(config(first, second)) as gateway:
        answer = await gateway.ask(QUESTION | fields)
    assert answer.status == 400
    assert answer.error["param"] == param
    assert len(first.asked) + len(second.asked) == 1  # another would fail at it as well


async def test_what_is_an_upstreams_alone_passes_and_so_does_its_refusal() -> None:
    strange = [{"role": "oracle", "content": [{"type": "video_url", "video_url": {"url": "http://x"}}], "mood": 3}]
    async with upstream(says("hi"), TOO_LONG) as box, serving(config(box)) as gateway:
        assert (await gateway.ask(QUESTION | {"messages": strange})).status == 200
        assert json.loads(box.asked[0].body)["messages"] == strange
        refused = await gateway.ask(QUESTION | {"messages": strange})
        box.play(NAMED)
        named = await gateway.ask(QUESTION | {"messages": strange})
    assert named.error["param"] == "user"
    assert refused.status == 400
    assert refused.error["message"] == "exceeds the context length"
