"""An id of a response holds its session's name and its turn: nobody has to look it up."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core import response_id
from moltbot_edge.core.session import CHANCE_BYTES, NAME_CHARS, made_id, made_name

TURN = made_id(1_795_000_000.0, b"\x07" * CHANCE_BYTES)
names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=NAME_CHARS).filter(
    lambda name: name not in (".", "..")
)
turns = st.builds(made_id, st.floats(0, 1e10), st.binary(min_size=CHANCE_BYTES, max_size=CHANCE_BYTES))
keys = st.builds("{}{}".format, st.sampled_from(["", "i"]), st.integers(0, 10**9 - 1))


@given(names, turns)
def test_every_name_comes_back_and_fits_into_a_url(name: str, turn: str) -> None:
    made = response_id.written(name, turn)
    assert re.fullmatch("resp_[A-Za-z0-9_-]+", made)
    assert response_id.read(made) == (name, turn)


@given(names, turns, keys, st.sampled_from(["msg", "fc", "fco", "rs"]))
def test_so_does_an_item_s_place(name: str, turn: str, key: str, kind: str) -> None:
    made = response_id.of_item(kind, name, turn, key)
    assert re.fullmatch("[A-Za-z0-9_-]+", made)
    assert response_id.read_item(made) == (name, turn, key)


@pytest.mark.parametrize(
    "other",
    [
        "resp_67ccd3a9da748190baa7f1570fe91ac604becb25c45c1d41",
        "resp_0123456789abcdef01234567",
        "chatcmpl-1",
        "resp_",
        f"resp_{TURN}",
        f"resp_{TURN}_",
        f"resp_{TURN}_kitchen table",
        f"resp_{TURN}-a2l0Y2hlbg",  # a name that needs no base64
        f"resp_{TURN}-!",
        f"resp_{TURN}.kitchen",
        f"resp_{TURN}_{'k' * (NAME_CHARS + 1)}",
        f"resp_{'u' * 26}_kitchen",  # no such digit
    ],
)
def test_another_provider_s_is_none_of_ours(other: str) -> None:
    assert response_id.read(other) is None


@given(st.text())
def test_any_text_may_be_asked_for(text: str) -> None:
    response_id.read(text)
    response_id.read_item(text)
    response_id.read("resp_" + text)


def test_a_conversation_is_a_session_of_that_name() -> None:
    ours = response_id.conversation(TURN)
    assert response_id.may_be_a_session(ours)
    assert response_id.may_be_a_session("kitchen")
    assert response_id.may_be_a_session(made_name(TURN))
    assert not response_id.may_be_a_session("conv_689667905b048191b4740501625afd940c7533ace33a2dab")
