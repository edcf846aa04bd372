"""Anthropic's callers, Claude Code and the official client among them, against upstreams of OpenAI's shape."""

from __future__ import annotations

import json
from typing import Any

import claude_code
import pytest
from anthropic import APIStatusError, AsyncAnthropic, BadRequestError
from claude_code import answered, asked
from harness import config, serving
from msgspec.structs import replace
from raw_caller import Answer
from scripted_upstream import DONE, Script, Upstream, answers, says, streams, upstream

from moltbot_edge.config.schema import Config, Model
from moltbot_edge.core import sse

pytestmark = pytest.mark.anyio

MESSAGES = "/v1/messages"
CLAUDE = "claude-opus-4-6"
ASKED: dict[str, Any] = {"model": "chat", "max_tokens": 99, "messages": [{"role": "user", "content": "hello"}]}
USAGE = {"prompt_tokens": 100, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 60}}


def chunk_of(delta: dict[str, Any], finish: str | None = None) -> bytes:
    said = {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def call_of(index: int, **fields: Any) -> bytes:
    return chunk_of({"tool_calls": [{"index": index, **fields}]})


def calls_two_at_once() -> Script:
    """As some servers write them: a piece of the one, a piece of the other; and ``stop`` for a reason."""
    said = {number: json.dumps({"command": f"echo {number}"}) for number in ("one", "two")}
    pieces = [chunk_of({"role": "assistant", "content": None})]
    for index, number in enumerate(said):
        pieces.append(call_of(index, id=f"call_{number}", type="function", function={"name": "Bash", "arguments": ""}))
    for at in range(0, 30, 5):
        for index, text in enumerate(said.values()):
            if text[at : at + 5]:
                pieces.append(call_of(index, function={"arguments": text[at : at + 5]}))
    usage = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
    return streams([*pieces, chunk_of({}, "stop"), usage, DONE])


def blocks(answer: Answer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for data in sse.data_of(answer.body):
        event = json.loads(data)
        if event["type"] == "content_block_start":
            found.append(event["content_block"] | {"said": ""})
        elif event["type"] == "content_block_delta":
            found[event["index"]]["said"] += event["delta"].get("text") or event["delta"].get("partial_json") or ""
    return found


def of_anthropic(box: Upstream, model: str = CLAUDE) -> Config:
    deployment = Model(name="chat", model=model, endpoint=box.url, type="anthropic-messages", api_key="sk-1")
    return replace(config(), model_registry=[deployment])


async def test_claude_code_calls_two_tools_at_once_and_goes_on() -> None:
    done = streams([chunk_of({"content": "Done."}), chunk_of({}, "stop"), DONE])
    async with upstream(calls_two_at_once(), done) as box, serving(config(box)) as gateway:
        first = await gateway.ask(asked("chat"), *claude_code.HEADERS, path=claude_code.PATH)
        assert first.status == 200
        calls = blocks(first)
        assert [(call["id"], json.loads(call["said"])) for call in calls] == [
            ("call_one", {"command": "echo one"}),
            ("call_two", {"command": "echo two"}),
        ]
        said = [json.loads(data) for data in sse.data_of(first.body)]
        assert said[-2]["delta"]["stop_reason"] == "tool_use"
        assert said[-2]["usage"]["input_tokens"] == 40
        assert said[-2]["usage"]["cache_read_input_tokens"] == 60
        blocks_back = [{name: call[name] for name in ("type", "id", "name")} for call in calls]
        for block, call in zip(blocks_back, calls, strict=True):
            block["input"] = json.loads(call["said"])
        later = answered(*blocks_back, results={"call_one": "one", "call_two": "two"})
        second = await gateway.ask(asked("chat", *later), *claude_code.HEADERS, path=claude_code.PATH)
        assert [block["said"] for block in blocks(second)] == ["Done."]
        bodies = [json.loads(one.body) for one in box.asked]
    for body in bodies:
        assert [tool["function"]["name"] for tool in body["tools"]] == list(claude_code.NAMES)
        assert body["max_tokens"] == 32000
        assert "x-anthropic-billing-header" not in json.dumps(body)
    assert [message["role"] for message in bodies[0]["messages"]] == ["system", "user"]
    assert [message["role"] for message in bodies[1]["messages"]] == ["system", "user", "assistant", "tool", "tool"]
    # What was read before is read from the cache: the second prompt begins as the first one was.
    assert bodies[1]["messages"][:2] == bodies[0]["messages"]
    assert [message["content"] for message in bodies[1]["messages"][3:]] == ["one", "two"]


async def test_what_nobody_but_anthropic_knows_is_named() -> None:
    async with upstream(says()) as box, serving(config(box)) as gateway:
        answer = await gateway.ask(asked("chat") | {"stream": False}, *claude_code.HEADERS, path=claude_code.PATH)
        dropped = (answer.header("x-moltbot-dropped") or "").split(", ")
        assert {"context_management", "cache_control", "system[0]"} <= set(dropped)


async def test_claude_codes_count_is_an_answer() -> None:
    body = {name: value for name, value in asked("chat").items() if name in ("model", "messages", "system", "tools")}
    async with upstream(answers(404, b"{}")) as box, serving(config(box)) as gateway:
        counted = await gateway.ask(body, *claude_code.HEADERS, path="/v1/messages/count_tokens?beta=true")
        assert counted.json["input_tokens"] > 1000


async def test_a_search_by_anthropics_own_tool_is_refused_and_not_made_up() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
    async with upstream(says()) as box, serving(config(box)) as gateway:
        answer = await gateway.ask(ASKED | {"tools": [search]}, path=MESSAGES)
        assert answer.status == 400
        assert answer.error["type"] == "invalid_request_error"
        assert "tools[0]" in answer.error["message"]
        assert not box.asked


async def test_a_conversation_that_another_model_had_a_turn_in_comes_back_to_claude() -> None:
    reply = json.dumps({"type": "message", "content": [], "stop_reason": "end_turn", "usage": {}}).encode()
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "moltbot-edge:"}
    messages = [
        *ASKED["messages"],
        {"role": "assistant", "content": [thought, {"type": "text", "text": "Hi."}]},
        {"role": "user", "content": "And?"},
    ]
    async with upstream(answers(200, reply)) as box, serving(of_anthropic(box)) as gateway:
        answer = await gateway.ask(ASKED | {"messages": messages}, path=MESSAGES)
        assert answer.status == 200
        assert answer.header("x-moltbot-dropped") == "messages.reasoning"
        sent = json.loads(box.asked[0].body)
        assert sent["model"] == CLAUDE
        assert [message["content"] for message in sent["messages"]] == ["hello", "Hi.", "And?"]


async def test_claudes_own_thoughts_pass_byte_for_byte_with_the_callers_betas() -> None:
    reply = json.dumps({"type": "message", "content": [], "stop_reason": "end_turn", "usage": {}}).encode()
    async with upstream(answers(200, reply)) as box, serving(of_anthropic(box)) as gateway:
        body = asked("chat")
        await gateway.ask(body, *claude_code.HEADERS, path=claude_code.PATH)
        sent = box.asked[0]
        assert json.loads(sent.body) == body | {"model": CLAUDE}
        assert sent.path == MESSAGES
        assert sent.header("x-api-key") == "sk-1"
        assert "claude-code-20250219" in (sent.header("anthropic-beta") or "")


async def test_the_official_client_holds_a_conversation_and_streams() -> None:
    stream = streams([chunk_of({"content": "Hel"}), chunk_of({"content": "lo"}), chunk_of({}, "stop"), DONE])
    async with (
        upstream(says("Hello"), stream) as box,
        serving(config(box)) as gateway,
        AsyncAnthropic(base_url=gateway.url, api_key="none", max_retries=0) as client,
    ):
        message = await client.messages.create(**ASKED)
        assert message.content[0].type == "text"
        assert message.content[0].text == "Hello"
        assert (message._request_id or "").removeprefix("req_") == message.id.removeprefix("msg_")
        assert (message.model, message.stop_reason, message.usage.input_tokens) == ("chat", "end_turn", 7)
        async with client.messages.stream(**ASKED) as streamed:
            assert [text async for text in streamed.text_stream] == ["Hel", "lo"]
            assert (await streamed.get_final_message()).stop_reason == "end_turn"


async def test_the_official_client_raises_its_own_errors() -> None:
    breaks = streams([chunk_of({"content": "Hel"}), b'data: {"error": {"message": "out of memory"}}\n\n'])
    async with (
        upstream(answers(400, b'{"error": {"message": "too long", "type": "invalid_request_error"}}'), breaks) as box,
        serving(config(box)) as gateway,
        AsyncAnthropic(base_url=gateway.url, api_key="none", max_retries=0) as client,
    ):
        with pytest.raises(BadRequestError, match="too long") as refused:
            await client.messages.create(**ASKED)
        assert refused.value.type == "invalid_request_error"
        with pytest.raises(APIStatusError, match="out of memory"):
            async with client.messages.stream(**ASKED) as streamed:
                await streamed.get_final_message()


async def test_an_openai_caller_is_answered_by_anthropics_upstream() -> None:
    said = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Hi."}]
    usage = {"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 2}
    reply = {"id": "msg_1", "type": "message", "content": said, "stop_reason": "max_tokens", "usage": usage}
    async with upstream(answers(200, json.dumps(reply))) as box, serving(of_anthropic(box)) as gateway:
        answer = await gateway.ask({"model": "chat", "messages": ASKED["messages"], "seed": 1})
        choice = answer.json["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("Hi.", "length")
        assert answer.json["usage"]["prompt_tokens"] == 9
        assert answer.header("x-moltbot-dropped") == "seed"
        sent = json.loads(box.asked[0].body)
        assert sent == {"model": CLAUDE, "max_tokens": 32000, "messages": ASKED["messages"]}


async def test_a_thought_of_claudes_is_not_sent_to_openais_responses() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "anthropic-messages:EqkC"}
    items = [{"role": "user", "content": "hello"}, thought, {"role": "user", "content": "And?"}]
    reply = json.dumps({"id": "r", "object": "response", "status": "completed", "output": []})
    async with upstream(answers(200, reply)) as box:
        deployment = Model(name="chat", endpoint=box.url, type="openai-responses")
        async with serving(replace(config(), model_registry=[deployment])) as gateway:
            answer = await gateway.ask({"model": "chat", "input": items}, path="/v1/responses")
        assert answer.header("x-moltbot-dropped") == "messages.reasoning"
        assert b"EqkC" not in box.asked[0].body
