"""What changes at a prompt's beginning goes to its end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moltbot_edge.core.volatile import KEPT_QUESTIONS, MOST_VALUES, Mover

ASKED = {"role": "user", "content": "what day is it?"}
EARLIER = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello to you"}]
UUID = "3f2b8c1e-0a4d-4a53-9d3b-1c2d3e4f5a6b"


def sent(*messages: Any, mover: Mover | None = None) -> list[dict[str, Any]]:
    body = json.dumps({"model": "small", "messages": messages}).encode()
    found: list[dict[str, Any]] = json.loads((mover or Mover()).moved(body))["messages"]
    return found


@pytest.mark.parametrize(
    ("system", "stays", "value"),
    [
        ("You help. Current date: 2026-11-23", "You help. Current date: [value 1]", "2026-11-23"),
        ("Today's date is Monday, 23.11.2026. Be brief.", "Today's date is [value 1]. Be brief.", "Monday, 23.11.2026"),
        ("The current time is 06:05\nBe brief.", "The current time is [value 1]\nBe brief.", "06:05"),
        ("<env>Today is 23 May 2026</env>", "<env>Today is [value 1]</env>", "23 May 2026"),
        ("at 2026-11-23T06:05:05.123Z you began", "at [value 1] you began", "2026-11-23T06:05:05.123Z"),
        ("at 2026-11-23 06:05:05+01:00, so", "at [value 1], so", "2026-11-23 06:05:05+01:00"),
        (f"request {UUID} of many", "request [value 1] of many", UUID),
    ],
)
def test_a_clock_in_the_system_prompt_goes_to_the_last_question(system: str, stays: str, value: str) -> None:
    first, *between, last = sent({"role": "system", "content": system}, *EARLIER, ASKED)
    assert first["content"] == stays
    assert between == EARLIER
    assert last["content"] == f"what day is it?\n\n(Of what stands above, [value 1] is {value}.)"


def test_two_requests_with_other_clocks_begin_the_same() -> None:
    one, other = (
        sent({"role": "system", "content": f"Current time: 06:0{minute}. Id {minute}{UUID[1:]}."}, *EARLIER, ASKED)
        for minute in (1, 2)
    )
    assert one[:-1] == other[:-1]
    assert "06:01" in one[-1]["content"]
    assert "06:02" in other[-1]["content"]


def test_a_value_that_stands_twice_has_one_number() -> None:
    first, last = sent({"role": "system", "content": f"{UUID} and {UUID}"}, ASKED)
    assert first["content"] == "[value 1] and [value 1]"
    assert last["content"].count(UUID) == 1


def test_the_first_question_gives_way_once_another_is_asked() -> None:
    opening = {"role": "user", "content": f"{UUID}: hello"}
    assert sent(opening) == [opening]
    first, _, last = sent(opening, EARLIER[1], ASKED)
    assert first["content"] == "[value 1]: hello"
    assert UUID in last["content"]


def test_parts_of_a_message_are_looked_at_too() -> None:
    system = {"role": "system", "content": [{"type": "text", "text": f"id {UUID}", "cache_control": {"type": "x"}}]}
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    first, last = sent(system, {"role": "user", "content": [picture]})
    assert first["content"] == [{"type": "text", "text": "id [value 1]", "cache_control": {"type": "x"}}]
    assert last["content"][0] == picture
    assert last["content"][1]["text"].endswith(f"[value 1] is {UUID}.)")


@pytest.mark.parametrize(
    "messages",
    [
        [ASKED],
        [{"role": "system", "content": "Today is a good day. Items from 2026-11-23."}, ASKED],
        [{"role": "system", "content": "be brief"}, *EARLIER, {"role": "user", "content": f"what is {UUID}?"}],
        [*EARLIER, {"role": "user", "content": f"old {UUID}"}, EARLIER[1], ASKED],
        [{"role": "system", "content": f"only {UUID}"}],
        [{"role": "system", "content": None}, {"role": "user", "content": UUID}],
        [],
    ],
)
def test_what_does_not_change_stays_byte_for_byte(messages: list[Any]) -> None:
    body = json.dumps({"messages": messages}).encode()
    assert Mover().moved(body) is body


@pytest.mark.parametrize("body", [b"", b"2026-11-23T06:05", b'{"messages": "2026-11-23T06:05"}', UUID.encode()])
def test_what_cannot_be_read_is_left_to_the_engine(body: bytes) -> None:
    assert Mover().moved(body) is body


def test_no_more_is_moved_than_anybody_means() -> None:
    ids = " ".join(f"{number:08}{UUID[8:]}" for number in range(100))
    first, last = sent({"role": "system", "content": ids}, ASKED)
    assert first["content"].count("[value") == last["content"].count("[value") == MOST_VALUES


def test_a_conversation_with_a_clock_goes_on_from_what_was_sent() -> None:
    mover = Mover()
    history: list[Any] = []
    before: list[Any] = []
    for minute in range(10, 14):
        history.append({"role": "user", "content": f"question {minute}"})
        found = sent({"role": "system", "content": f"Current time: 06:{minute}"}, *history, mover=mover)
        assert found[: len(before)] == before
        assert f"[value 1] is 06:{minute}." in found[-1]["content"]
        history.append({"role": "assistant", "content": "well"})
        before = [*found, history[-1]]


def test_a_first_question_that_comes_again_as_it_was_stays_as_it_was() -> None:
    mover = Mover()
    opening = {"role": "user", "content": f"{UUID}: hello"}
    assert sent(opening, mover=mover) == [opening]
    assert sent(opening, EARLIER[1], ASKED, mover=mover) == [opening, EARLIER[1], ASKED]


def test_a_first_question_that_is_made_anew_each_time_gives_way() -> None:
    mover = Mover()
    for number in (1, 2):
        opening = {"role": "user", "content": f"{number}{UUID[1:]}: hello"}
        if number == 1:
            sent(opening, mover=mover)
        else:
            first, _, last = sent(opening, EARLIER[1], ASKED, mover=mover)
            assert first["content"] == "[value 1]: hello"
            assert f"{number}{UUID[1:]}" in last["content"]


def test_the_same_question_in_another_conversation_is_another() -> None:
    mover = Mover()
    sent({"role": "system", "content": "Current time: 06:10"}, ASKED, mover=mover)
    system = {"role": "system", "content": "be brief"}
    assert sent(system, ASKED, EARLIER[1], EARLIER[0], mover=mover)[1] == ASKED


def test_old_questions_are_forgotten() -> None:
    mover = Mover()
    for number in range(KEPT_QUESTIONS + 10):
        sent(
            {"role": "system", "content": "Current time: 06:10"}, {"role": "user", "content": str(number)}, mover=mover
        )
    assert len(mover._ends) == KEPT_QUESTIONS
