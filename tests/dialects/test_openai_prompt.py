"""What a request in OpenAI's shape asks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.decoding import MOST_OBJECTS
from moltbot_edge.core.prompt import READ_CHARS, Prompt
from moltbot_edge.dialects.openai_prompt import LONG_BYTES, prompt

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=5), below, max_size=4),
)
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def asked(**body: Any) -> Prompt:
    return prompt(json.dumps(body).encode())


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_the_last_question_is_read_and_the_one_before_it() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        user("first"),
        {"role": "assistant", "content": "yes?"},
        user("second"),
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "42"},
    ]
    assert asked(messages=messages) == Prompt("second", "first", chars=6, turns=2, messages=6)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([{"type": "text", "text": "in"}, {"type": "text", "text": "parts"}], "in\nparts"),
        (["bare", {"type": "text", "text": "too"}], "bare\ntoo"),
        ([PICTURE, {"type": "text", "text": "what is it?"}], "what is it?"),
        (None, ""),
        (7, ""),
        ([7], ""),
        ({"text": "no"}, ""),
    ],
)
def test_a_content_is_a_text_or_parts(content: Any, text: str) -> None:
    assert asked(messages=[user(content)]).text == text


def test_what_programs_add_is_not_the_users() -> None:
    said = "<system-reminder>\nThe file changed.\n</system-reminder>\nfix it <context>lines</context>"
    assert asked(messages=[user(said)]).text == "fix it"
    assert asked(messages=[user("if a < b, is <b>it</b> so?")]).text == "if a < b, is <b>it</b> so?"
    assert asked(messages=[user("why?<system-reminder>it was cut")]).text == "why?"


def test_tools_and_images_are_noticed_wherever_they_stand() -> None:
    function = {"type": "function", "function": {"name": "f"}}
    assert asked(messages=[user("x")], tools=[function]).tools
    assert asked(messages=[user("x")], functions=[{"name": "f"}]).tools
    assert not asked(messages=[user("x")], tools=[], functions=None).tools
    assert asked(messages=[user([PICTURE]), {"role": "assistant", "content": "a cat"}, user("sure?")]).images
    assert not asked(messages=[user('{"type": "image_url"}')]).images, "somebody talks about it"


def test_a_limit_to_the_reply_is_noticed() -> None:
    assert asked(messages=[user("x")], max_tokens=50).limited
    assert asked(prompt="x", max_tokens=50).limited
    assert asked(messages=[user("x")], max_completion_tokens=50).limited
    assert not asked(messages=[user("x")], max_tokens=None).limited


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"prompt": "Once upon"}, "Once upon"),
        ({"prompt": ["Once", "upon"]}, "Once\nupon"),
        ({"input": ["a", "b"]}, "a\nb"),
        ({"query": "who?", "documents": ["x"]}, "who?"),
        ({"prompt": [1, 2, 3]}, ""),
    ],
)
def test_a_completion_an_embedding_and_a_rerank_ask_too(body: dict[str, Any], text: str) -> None:
    assert asked(**body).text == text


def test_of_a_long_question_the_beginning_is_read_and_the_length_is_known() -> None:
    found = asked(messages=[user("word " * 1000)])
    assert (len(found.text), found.chars) == (READ_CHARS, 5000)


@pytest.mark.parametrize("shift", range(12))
@pytest.mark.parametrize("character", ["\U0001f600", "é", "\\", "\n", "a"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_long_question_is_cut_between_characters(shift: int, character: str, ascii_only: bool) -> None:
    text = "x" * shift + character * LONG_BYTES
    body = json.dumps({"messages": [user(text)]}, ensure_ascii=ascii_only).encode()
    assert prompt(body).text == text[:READ_CHARS].strip()


def test_a_body_of_nothing_but_objects_is_not_taken_apart() -> None:
    assert prompt(b'{"messages":[' + b"{}," * MOST_OBJECTS + b'{"role":"user","content":"x"}]}') == Prompt()


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "input", "query", "tools"]), JSON))
def test_whatever_the_shape_it_reads_what_it_can(body: dict[str, Any]) -> None:
    found = asked(**body)
    assert len(found.text) <= READ_CHARS
    assert found.turns <= max(found.messages, 1)


@given(st.text(max_size=200), st.booleans())
def test_any_text_without_a_mark_is_read_as_it_is(text: str, as_part: bool) -> None:
    text = text.replace("<", "")
    found = asked(messages=[user([{"type": "text", "text": text}] if as_part else text)])
    assert found.text == text.strip()
    assert found.chars == len(text)
