"""What an upstream of Anthropic's is asked: what is said, what is dropped by name, and what is refused."""

from __future__ import annotations

import base64
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
    Part,
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
from moltbot_edge.core.dialect import Outgoing
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.dialects.anthropic_asking import MAX_TOKENS, written
from moltbot_edge.dialects.anthropic_request import read

HELLO = Message(Role.USER, (Text(text="hello"),))
LOOK = Tool("look", "Looks", b'{"type":"object"}')
OLD, NEW, NEWEST, OTHER = "claude-sonnet-4-5", "claude-opus-4-6", "claude-fable-5", "qwen3"


def outgoing(model: str = OTHER, messages: tuple[Message, ...] = (HELLO,), **fields: Any) -> Outgoing:
    return written(ChatRequest(model=model, messages=messages, **fields))


def body(model: str = OTHER, messages: tuple[Message, ...] = (HELLO,), **fields: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(outgoing(model, messages, **fields).body)
    return said


def user(*parts: Part) -> Message:
    return Message(Role.USER, parts)


def test_of_more_cache_markers_than_may_be_the_last_stay() -> None:
    turns = tuple(user(Text(text=str(place), cached=True)) for place in range(6))
    spoken = tuple(one for turn in turns for one in (turn, Message(Role.ASSISTANT, (Text(text="ok"),))))
    result = ToolResult(id="a", parts=(Text(text="seen", cached=True),))
    call = Message(Role.ASSISTANT, (ToolCall(id="a", name="look"),))
    system = Message(Role.SYSTEM, (Text(text="Be short.", cached=True),))
    sent = body(messages=(system, *spoken[:-1], call, Message(Role.TOOL, (result,))), tools=(LOOK,))
    marked = [place for place, one in enumerate(sent["messages"]) if "cache_control" in json.dumps(one)]
    assert marked == [8, 10, 12]
    assert "cache_control" in json.dumps(sent["system"])
    assert json.dumps(body(messages=spoken[:8])).count("cache_control") == 4


def test_the_least_request_says_how_long_a_reply_may_be() -> None:
    found = outgoing("m")
    assert found.path == "/messages"
    assert json.loads(found.body) == {
        "model": "m",
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": "hello"}],
    }
    assert found.dropped == ()


def test_results_and_the_next_question_are_one_turn_of_the_users() -> None:
    messages = (
        Message(Role.SYSTEM, (Text(text="Be short."),)),
        HELLO,
        Message(Role.ASSISTANT, (ToolCall(id="t1", name="look", arguments='{"at":1}'),)),
        Message(Role.TOOL, (ToolResult(id="t1", parts=(Text(text="no"),), failed=True),)),
        user(Text(text="And?")),
    )
    found = body(messages=messages)
    assert found["system"] == "Be short."
    assert found["messages"][1:] == [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "no", "is_error": True},
                {"type": "text", "text": "And?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("arguments", "said"), [("", {}), ("{}", {}), ('{"a":', {"_unparsed": '{"a":'}), ("[1]", {"_unparsed": "[1]"})]
)
def test_a_calls_input_is_an_object_whatever_a_model_wrote(arguments: str, said: dict[str, Any]) -> None:
    messages = (HELLO, Message(Role.ASSISTANT, (ToolCall(id="t1", name="look", arguments=arguments),)))
    assert body(messages=messages)["messages"][1]["content"][0]["input"] == said


def test_pictures_and_documents() -> None:
    pictures = user(Image(media_type="image/png", data="AA=="), Image(url="http://x/a.png", detail="high"))
    assert [one["source"] for one in body(messages=(pictures,))["messages"][0]["content"]] == [
        {"type": "base64", "media_type": "image/png", "data": "AA=="},
        {"type": "url", "url": "http://x/a.png"},
    ]
    assert outgoing(messages=(pictures,)).dropped == ("messages.detail",)
    table = base64.b64encode(b"a,b").decode()
    documents = user(
        File(media_type="application/pdf", data="AA==", name="T"),
        File(media_type="text/csv", data=table),
        File(url="http://x/a.pdf"),
        File(id="file_1"),
    )
    found = body(messages=(documents,))["messages"][0]["content"]
    assert found[0]["title"] == "T"
    assert [one["source"]["type"] for one in found] == ["base64", "text", "url", "file"]
    assert found[1]["source"]["data"] == "a,b"


@pytest.mark.parametrize(
    ("wish", "path"),
    [
        ({"choices": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"format": Format()}, "response_format"),
        ({"messages": (user(File(media_type="audio/wav", data="AA==")),)}, "messages[0].content[0]"),
        (
            {
                "messages": (HELLO, user(Image(id="file-of-openai"))),
            },
            "messages[1].content[0]",
        ),
    ],
)
def test_a_wish_without_words_for_it_is_refused_by_its_path(wish: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        outgoing(**wish)
    assert caught.value.param == path


def test_what_changes_little_is_dropped_and_named() -> None:
    found = outgoing(seed=1, presence_penalty=0.5, frequency_penalty=0.5, logit_bias={"1": 1}, min_p=0.1, keep_alive=60)
    assert set(found.dropped) == {
        *("seed", "presence_penalty", "frequency_penalty", "logit_bias", "min_p", "keep_alive"),
    }
    assert outgoing(extras={"prompt_cache_key": b'"k"'}, origin="openai-chat").dropped == ("prompt_cache_key",)


def test_tools_and_how_to_choose() -> None:
    bare = Tool("bare")
    found = body(tools=(LOOK, bare), tool_choice=ToolChoice(ToolMode.REQUIRED), parallel_tools=False)
    assert found["tools"] == [
        {"name": "look", "input_schema": {"type": "object"}, "description": "Looks"},
        {"name": "bare", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert found["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    choices = {
        ToolChoice(ToolMode.AUTO): {"type": "auto"},
        ToolChoice(ToolMode.NONE): {"type": "none"},
        ToolChoice(name="look"): {"type": "tool", "name": "look"},
    }
    for choice, said in choices.items():
        assert body(tools=(LOOK,), tool_choice=choice)["tool_choice"] == said
    assert body(tools=(LOOK,), parallel_tools=False)["tool_choice"] == {
        "type": "auto",
        "disable_parallel_tool_use": True,
    }
    assert "tool_choice" not in body(tool_choice=ToolChoice(ToolMode.REQUIRED))  # there are none to choose


def test_a_format_is_a_schema() -> None:
    found = body(format=Format(schema=b'{"type":"object"}'))
    assert found["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("model", "thinking", "said"),
    [
        (NEW, Thinking(), {"thinking": {"type": "adaptive"}}),
        (NEW, Thinking(effort="minimal"), {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        (NEW, Thinking(shown=False), {"thinking": {"type": "adaptive", "display": "omitted"}}),
        (OLD, Thinking(effort="low"), {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        (OTHER, Thinking(budget_tokens=3000), {"thinking": {"type": "enabled", "budget_tokens": 3000}}),
        (OTHER, Thinking(on=False), {"thinking": {"type": "disabled"}}),
    ],
)
def test_each_generation_is_told_to_think_in_its_way(model: str, thinking: Thinking, said: dict[str, Any]) -> None:
    found = body(model, thinking=thinking)
    assert {name: found[name] for name in ("thinking", "output_config") if name in found} == said


def test_a_budget_is_less_than_the_reply() -> None:
    assert body(OLD, thinking=Thinking(effort="high"), max_tokens=4000)["thinking"]["budget_tokens"] == 3999
    short = outgoing(OLD, thinking=Thinking(effort="high"), max_tokens=500)
    assert b"thinking" not in short.body
    assert short.dropped == ("thinking",)


def test_who_has_to_call_a_tool_does_not_think() -> None:
    found = outgoing(NEW, tools=(LOOK,), tool_choice=ToolChoice(ToolMode.REQUIRED), thinking=Thinking())
    assert b"thinking" not in found.body
    assert found.dropped == ("thinking",)


def test_nor_does_who_goes_on_after_anothers_calls() -> None:
    called = Message(Role.ASSISTANT, (ToolCall(id="t1", name="look"),))
    result = Message(Role.TOOL, (ToolResult(id="t1"),))
    assert outgoing(NEW, (HELLO, called, result), thinking=Thinking()).dropped == ("thinking",)
    thought = Reasoning(text="Hm.", seal="s", origin="anthropic-messages")
    own = Message(Role.ASSISTANT, (thought, ToolCall(id="t1", name="look")))
    found = body(NEW, (HELLO, own, result), thinking=Thinking())
    assert found["thinking"] == {"type": "adaptive"}
    assert found["messages"][1]["content"][0] == {"type": "thinking", "thinking": "Hm.", "signature": "s"}


def test_how_to_sample_is_said_as_far_as_the_model_takes_it() -> None:
    sampling: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "top_k": 40}
    assert {name: body(OTHER, **sampling)[name] for name in sampling} == sampling
    assert outgoing(OLD, **sampling).dropped == ("top_p",)
    assert set(outgoing(NEWEST, **sampling).dropped) == set(sampling)
    assert set(outgoing(OLD, thinking=Thinking(), **sampling).dropped) == set(sampling)
    hot = outgoing(OTHER, temperature=1.7)
    assert json.loads(hot.body)["temperature"] == 1
    assert hot.dropped == ("temperature",)


def test_claude_code_goes_out_as_it_came_in() -> None:
    asked = claude_code.asked(NEW)
    del asked["messages"][1]  # a system message between the turns is the hygiene's to place
    found = json.loads(written(read("/v1/messages", json.dumps(asked).encode())).body)
    assert found == asked


def test_anthropics_own_tools_keep_their_place() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    look = {"name": "look", "input_schema": {"type": "object"}}
    asked = {"model": NEW, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "tools": [search, look]}
    assert json.loads(written(read("/v1/messages", json.dumps(asked).encode())).body) == asked


@pytest.mark.parametrize("messages", [(), (Message(Role.SYSTEM, (Text(text="Be brief."),)),)])
def test_where_nobody_asks_anything_the_caller_is_told(messages: tuple[Message, ...]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        outgoing(messages=messages)
    assert refused.value.param == "messages"
