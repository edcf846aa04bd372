"""A prompt that means the same is written the same."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core import prefixes
from moltbot_edge.core.stable import Renderings, text, trail

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a place",
        "parameters": {
            "type": "object",
            "properties": {"thoughts": {"type": "string"}, "city": {"type": "string", "enum": ["Bern", "Aarau"]}},
            "required": ["thoughts", "city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
HISTORY = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "what is it like in Bern?"}]


def body(*messages: Any, tools: Any = None, **more: Any) -> bytes:
    said = {"model": "small", "messages": messages or HISTORY, **({} if tools is None else {"tools": tools}), **more}
    return json.dumps(said).encode()


def shuffled(value: Any, chance: random.Random) -> Any:
    """The same, every object's keys in another order."""
    match value:
        case dict():
            items = [(key, shuffled(one, chance)) for key, one in value.items()]
            chance.shuffle(items)
            return dict(items)
        case list():
            return [shuffled(one, chance) for one in value]
        case _:
            return value


@given(st.randoms(use_true_random=False))
def test_whatever_the_order_of_tools_and_keys_the_first_is_sent_again(chance: random.Random) -> None:
    renderings = Renderings()
    first = body(tools=[WEATHER, CLOCK])
    assert renderings.of(first) is first
    tools = shuffled([WEATHER, CLOCK], chance)
    chance.shuffle(tools)
    sent = renderings.of(body(tools=tools, temperature=0))
    assert sent.count(json.dumps([WEATHER, CLOCK]).encode()) == 1
    assert json.loads(sent) == json.loads(body(tools=[WEATHER, CLOCK], temperature=0))


def test_a_list_inside_a_tool_keeps_its_order() -> None:
    renderings = Renderings()
    renderings.of(body(tools=[WEATHER]))
    other = json.loads(json.dumps(WEATHER))
    other["function"]["parameters"]["properties"]["city"]["enum"].reverse()
    sent = body(tools=[other])
    assert renderings.of(sent) is sent


def test_a_body_that_needs_nothing_is_the_same_object() -> None:
    renderings = Renderings()
    for sent in (
        body(),
        b"",
        b"no JSON",
        b'{"tools": 7}',
        b'{"tools": null}',
        b'{"tools": [',
        b'{"messages": "tool_calls", "x": "tool_calls"}',
        body({"role": "user", "content": 'say "tools" and "tool_calls"'}),
    ):
        assert renderings.of(sent) is sent


def test_tools_are_forgotten_before_they_take_too_much() -> None:
    renderings = Renderings(tools_bytes=2000)
    for number in range(50):
        tool = {"type": "function", "function": {"name": f"tool{number}", "description": "x" * 200}}
        renderings.of(body(tools=[tool, WEATHER]))
    assert renderings._held_bytes <= 2000
    assert len(renderings._first) < 5


def called(call_id: str, *, city: str = "Bern", question: str = "what is it like?") -> list[dict[str, Any]]:
    arguments = json.dumps({"city": city})
    return [
        {"role": "user", "content": question},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": arguments}}
            ],
        },
        {"role": "tool", "tool_call_id": call_id, "content": f"rain, said {call_id}"},
    ]


def test_an_old_tool_call_keeps_the_id_that_it_was_sent_with_first() -> None:
    renderings = Renderings()
    first = body(*called("call_aaaaaaaa"))
    assert renderings.of(first) is first
    assert renderings.of(first) is first
    sent = json.loads(renderings.of(body(*called("call_bbbbbbbb"))))
    assert sent["messages"][1]["tool_calls"][0]["id"] == sent["messages"][2]["tool_call_id"] == "call_aaaaaaaa"
    assert sent["messages"][2]["content"] == "rain, said call_bbbbbbbb"


def test_other_calls_and_other_conversations_keep_their_own_ids() -> None:
    renderings = Renderings()
    renderings.of(body(*called("call_aaaaaaaa")))
    for other in (called("call_bbbbbbbb", city="Basel"), called("call_bbbbbbbb", question="and now?"), called("short")):
        sent = body(*other)
        assert renderings.of(sent) is sent


@pytest.mark.parametrize("fit", ["aB3dE6gH9", "callaaaaaaaa1"])
def test_an_id_of_a_form_that_a_template_wants_is_not_made_another(fit: str) -> None:
    renderings = Renderings()
    renderings.of(body(*called("call_aaaaaaa1")))
    sent = json.loads(renderings.of(body(*called(fit))))
    assert sent["messages"][2]["tool_call_id"] == fit


def test_two_calls_never_come_to_have_one_id() -> None:
    renderings = Renderings()
    renderings.of(body(*called("call_aaaaaaaa")))
    sent = body(*called("call_bbbbbbbb"), *called("call_aaaaaaaa"))
    assert renderings.of(sent) is sent


def test_a_conversation_that_goes_on_has_its_trail_and_more() -> None:
    first = trail(body(*HISTORY))
    again = trail(body(*HISTORY, {"role": "assistant", "content": "wet"}, {"role": "user", "content": "and in Basel?"}))
    assert len(first) == 2
    assert prefixes.shared(first, again) == 2
    assert prefixes.end_of(first[-1]) == sum(len(json.dumps(message)) for message in HISTORY)
    assert prefixes.shared(first, trail(body(HISTORY[0], {"role": "user", "content": "else"}))) == 1


def test_other_tools_and_other_arguments_of_the_template_make_another_prompt() -> None:
    plain = trail(body())
    assert prefixes.shared(plain, trail(body(tools=[CLOCK]))) == 0
    assert prefixes.shared(plain, trail(body(chat_template_kwargs={"enable_thinking": False}))) == 0
    assert prefixes.shared(plain, trail(body(temperature=1))) == 2
    assert trail(body(cache_prompt=False)) == ()


def test_a_prompt_of_completions_is_marked_at_its_lengths() -> None:
    prompt = "once upon a time " * 100
    first = trail(json.dumps({"prompt": prompt}).encode())
    assert len(first) > 10
    assert prefixes.shared(first, trail(json.dumps({"prompt": prompt + "there was"}).encode())) == len(first)
    assert trail(b'{"prompt": "short"}') == ()


def test_what_cannot_be_read_has_neither_text_nor_trail() -> None:
    for sent in (b"", b"[]", b'{"messages": 1}', b'{"messages": ["', b"{}", b'{"input": "x"}'):
        assert trail(sent) == ()
    assert bytes(text(b"]")) == b""
    assert bytes(text(body())).startswith(b'[{"role": "system"')


def test_a_trail_is_bounded() -> None:
    assert len(trail(body(*HISTORY * 1000))) == prefixes.TRAIL_MESSAGES
