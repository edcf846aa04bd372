"""Ollama's ``context`` as this gateway gives it: whose session it is, and after which turn it goes on."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.head import Head
from moltbot_edge.core.session import CHANCE_BYTES, NAME_CHARS, made_id
from moltbot_edge.dialects import ollama_context
from moltbot_edge.dialects.ollama import Ollama
from moltbot_edge.dialects.ollama_codec import OllamaCodec

TURN = made_id(1_795_000_000.0, b"\x07" * CHANCE_BYTES)
OURS = ollama_context.written("kitchen", TURN)
names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=NAME_CHARS).filter(
    lambda name: name not in (".", "..")
)


def head(path: str = "/api/generate", **said: Any) -> Head:
    return Ollama().head(path, b"", json.dumps({"model": "m", "prompt": "hi", **said}).encode())


@given(names)
def test_it_comes_back(name: str) -> None:
    numbers = ollama_context.written(name, TURN)
    assert ollama_context.read(numbers) == (name, TURN)
    assert all(0 <= number < 2**31 for number in numbers)


@given(st.lists(st.integers(0, 300_000)))
def test_an_ollama_s_own_is_not_taken_for_it(tokens: list[int]) -> None:
    assert ollama_context.read(tokens) is None


@given(st.lists(st.integers(-5, 2**70), max_size=80))
def test_a_broken_one_is_said_to_be_broken(rest: list[int]) -> None:
    with pytest.raises(InvalidRequest, match="broken") as refused:
        ollama_context.read([ollama_context.MAGIC, *rest])
    assert refused.value.param == "context"


def test_it_says_where_a_request_goes_on() -> None:
    said = head(context=OURS)
    assert (said.session, said.parent, said.keeps, said.asked_by) == ("kitchen", TURN, False, "context")
    assert said.inherits


def test_an_empty_one_asks_to_be_kept() -> None:
    said = head(context=[])
    assert (said.session, said.parent, said.keeps, said.unasked) == (None, None, True, False)


@pytest.mark.parametrize("said", [{}, {"context": None}, {"context": [1, 2, 3]}, {"context": "x"}])
def test_any_other_asks_for_nothing(said: dict[str, Any]) -> None:
    found = head(**said)
    assert (found.session, found.parent, found.keeps) == (None, None, False)


def test_a_chat_has_none() -> None:
    assert not head("/api/chat", context=[]).keeps


def test_ours_is_no_wish_of_an_ollama_s() -> None:
    codec = OllamaCodec()

    def vital(context: list[int]) -> tuple[str, ...]:
        body = msgspec.json.encode({"model": "m", "prompt": "hi", "context": context})
        return codec.read_request("/api/generate", body).vital

    assert vital(OURS) == vital([]) == ()
    assert vital([1, 2]) == ("context",)
