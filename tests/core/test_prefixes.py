"""What went there before is known again, by its beginning."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.prefixes import FIRST_BYTES, GROWTH, KEPT_MARKS, LENGTHS, Prefixes, marks, opening


def conversation(turns: int, *, system: str = "You are terse. " * 40, about: str = "tea") -> bytes:
    messages = [{"role": "system", "content": system}]
    for turn in range(turns):
        messages.append({"role": "user", "content": f"Tell me more about {about}, part {turn}. " * 10})
        messages.append({"role": "assistant", "content": f"Here is part {turn} of {about}. " * 30})
    messages.append({"role": "user", "content": f"And {turns}?"})
    return json.dumps({"model": "chat", "messages": messages}).encode()


def test_a_conversations_next_request_begins_as_the_last_one_did() -> None:
    before, now = conversation(4), conversation(5)
    same = next(i for i, (one, other) in enumerate(zip(before, now, strict=False)) if one != other)
    known = Prefixes()
    known.keep(marks(before), len(before))
    assert known.seen_bytes(marks(now)) == len(before)
    assert same > 0.99 * len(before)


def test_the_next_request_holds_the_reply_as_well() -> None:
    known, body = Prefixes(), conversation(4)
    known.keep(marks(body), len(body))
    known.answered(marks(body)[-1], 300)
    assert known.seen_bytes(marks(conversation(5))) == len(body) + 300
    known.answered(1, 300)
    assert known.seen_bytes((1,)) == 0


def test_what_stands_before_the_messages_does_not_count() -> None:
    known, body = Prefixes(), conversation(4)
    known.keep(marks(body), len(body))
    other = body.replace(b'"model": "chat"', b'"model": "chat", "max_tokens": 100')
    assert other != body
    assert known.seen_bytes(marks(other)) == len(body)


def test_another_conversation_shares_its_system_prompt_and_no_more() -> None:
    known = Prefixes()
    known.keep(marks(conversation(4)), len(conversation(4)))
    seen = known.seen_bytes(marks(conversation(4, about="coffee")))
    assert 600 / GROWTH < seen < 750
    assert known.seen_bytes(marks(conversation(4, system="You rhyme."))) == 0


def test_a_short_body_has_no_marks() -> None:
    assert marks(b"x" * (FIRST_BYTES - 1)) == ()
    assert len(marks(b"x" * FIRST_BYTES)) == 1
    assert Prefixes().seen_bytes(()) == 0


def test_what_was_sent_longest_ago_is_forgotten_first() -> None:
    first, second = conversation(2), conversation(2, system="x" * 600)
    known = Prefixes(limit=len(marks(first)) + len(marks(second)))
    for body in (first, second, first, b"y" * 1000, b"z" * 4000):
        known.keep(marks(body), len(body))
    assert known.seen_bytes(marks(first)) > known.seen_bytes(marks(second))


def test_a_body_of_any_size_has_few_marks() -> None:
    assert len(marks(b"x" * 3_000_000)) == len(LENGTHS) < KEPT_MARKS / 8


@given(st.binary(max_size=3000), st.binary(max_size=3000), st.binary(max_size=3000))
def test_no_more_is_taken_for_the_same_than_is(common: bytes, one: bytes, other: bytes) -> None:
    first, second = common + one, common + other
    same = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    known = Prefixes()
    known.keep((*marks(first), 7), len(first))  # all its own marks stand for their lengths
    assert known.seen_bytes(marks(bytearray(second))) <= same
    if same >= FIRST_BYTES:
        assert known.seen_bytes(marks(second)) >= same / GROWTH - 1


@pytest.mark.parametrize("turns", [1, 2, 5])
def test_an_opening_is_the_same_at_every_turn(turns: int) -> None:
    assert opening(conversation(0).replace(b"And 0?", b"Hi")) != opening(conversation(turns))
    assert opening(conversation(turns)) == opening(conversation(turns + 1))
    assert opening(conversation(turns)) != opening(conversation(turns, about="coffee"))
    assert opening(conversation(turns)) != opening(conversation(turns, system="You rhyme."))


def test_an_opening_does_not_hang_on_what_else_is_asked() -> None:
    body = conversation(1)
    assert opening(body) == opening(body.replace(b'"model": "chat"', b'"model": "chat", "temperature": 0.5'))


def test_an_opening_without_an_end_is_all_that_there_is() -> None:
    body = b'{"prompt": [' + b'"user",' * 9_000
    assert opening(body) == body[1:]


def test_what_has_no_messages_opens_with_itself() -> None:
    assert opening(b'{"model": "embed", "input": "hello"}') == b'"input": "hello"}'
    assert opening(b'{"query": "a"}') == b'{"query": "a"}'
