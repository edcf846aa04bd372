"""A conversation stays where it is."""

from __future__ import annotations

from collections import Counter

from fleet import QUERY, candidate, names
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from moltbot_edge.api import RouteQuery
from moltbot_edge.policies.sticky import Sticky

SESSIONS = [f"session {i}" for i in range(2000)]


def in_session(session: str | None, body: bytes = b"") -> RouteQuery:
    return replace(QUERY, session=session, body=body)


def body(first: str, *more: str) -> bytes:
    said = b", ".join(b'{"role": "user", "content": "%b"}' % text.encode() for text in (first, *more))
    return b'{"model": "chat", "messages": [%b]}' % said


def test_a_session_goes_to_one_and_sessions_are_spread_evenly() -> None:
    fleet = [candidate(name) for name in "abcd"]
    firsts = Counter(names(Sticky()(fleet, in_session(session)))[0] for session in SESSIONS)
    assert all(400 < firsts[name] < 600 for name in "abcd")


def test_spread_is_by_weight() -> None:
    fleet = [candidate("a", weight=3.0), candidate("b")]
    firsts = Counter(names(Sticky()(fleet, in_session(session)))[0] for session in SESSIONS)
    assert 0.7 < firsts["a"] / len(SESSIONS) < 0.8


@given(st.text(max_size=10), st.permutations("abcdef"), st.integers(0, 5))
def test_when_one_goes_no_other_conversation_moves(session: str, fleet: list[str], gone: int) -> None:
    query = in_session(session)
    before = names(Sticky()([candidate(name) for name in "abcdef"], query))
    assert names(Sticky()([candidate(name) for name in fleet], query)) == before
    missing = "abcdef"[gone]
    after = names(Sticky()([candidate(name) for name in fleet if name != missing], query))
    assert after == before.replace(missing, "")


def test_without_a_session_a_conversation_is_known_by_its_beginning() -> None:
    fleet = [candidate(name) for name in "abcdefgh"]
    orders = {names(Sticky()(fleet, in_session(None, body("Hello", *["more"] * turns)))) for turns in range(5)}
    assert len(orders) == 1
    others = {names(Sticky()(fleet, in_session(None, body(f"Hello {i}")))) for i in range(50)}
    assert len(others) > 40


def test_by_prompt_the_session_does_not_count() -> None:
    fleet = [candidate(name) for name in "abcdefgh"]
    orders = {names(Sticky(by="prompt")(fleet, in_session(one, body("Hello")))) for one in (None, "s", "t")}
    assert len(orders) == 1


def test_a_session_of_any_characters_is_one() -> None:
    fleet = [candidate("a"), candidate("b")]
    assert sorted(names(Sticky()(fleet, in_session("\ud800 \0 ü")))) == ["a", "b"]
