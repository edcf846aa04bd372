"""Whether a kept conversation stays where it is held."""

from __future__ import annotations

from typing import Any

import pytest
from fleet import LAST_SEEN, QUERY, candidate, fleets, names
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from moltbot_edge.api import Candidate, Choice, RouteQuery
from moltbot_edge.core.chat import Message, Role
from moltbot_edge.core.events import Usage
from moltbot_edge.core.session import Cut, Turn
from moltbot_edge.core.staying import Held, settled

CUT = Cut(1000, "", 1)
STAYS_A = replace(QUERY, stays="a")


def holds(name: str, first_token_s: float | None = 10.0, **of: object) -> Candidate:
    """All but a hundred tokens of the prompt."""
    return candidate(name, first_token_s, cached_tokens=900.0, **of)  # type: ignore[arg-type]


def test_where_a_policy_only_spreads_it_stays_and_says_so() -> None:
    a, b, c = holds("a"), candidate("b", 10.0), candidate("c", 10.0)
    choice = settled(Choice((b, c, a), equal=3), (a, b, c), STAYS_A)
    assert names(choice) == "abc"
    assert choice.reason == "stays: holds the conversation"


def test_a_reason_of_the_policys_own_outweighs_it_and_the_reply_says_what_that_costs() -> None:
    a, b = holds("a"), candidate("b", 10.0)
    choice = settled(Choice((b, a), "score 0.81"), (a, b), STAYS_A)
    assert names(choice) == "ba"
    assert choice.reason == "moves: score 0.81, reads 1000 tokens in 10 s"


def test_a_plug_in_that_says_nothing_is_obeyed() -> None:
    a, b = holds("a"), candidate("b", None)
    choice = settled(Choice((b, a)), (a, b), STAYS_A)
    assert (names(choice), choice.reason) == ("ba", "moves: reads 1000 tokens")


def test_where_the_policy_comes_to_the_same_its_reason_is_told_as_well() -> None:
    a, b = holds("a"), candidate("b", 10.0)
    assert settled(Choice((a, b), "score 0.1"), (a, b), STAYS_A).reason == "stays: holds the conversation, score 0.1"


def test_only_who_is_as_good_by_the_policys_reason_may_stay() -> None:
    a, b, c = holds("a"), candidate("b", 10.0), candidate("c", 10.0)
    assert names(settled(Choice((b, c, a), equal=2), (a, b, c), STAYS_A)) == "bca"
    assert names(settled(Choice((b, a, c), equal=2), (a, b, c), STAYS_A)) == "abc"


@pytest.mark.parametrize(("work_s", "order"), [(8.0, "ab"), (12.0, "ba")])
def test_it_moves_where_the_wait_is_longer_than_the_switch(work_s: float, order: str) -> None:
    a, b = holds("a", in_flight=1, work_s=work_s), candidate("b", 10.0)
    choice = settled(Choice((b, a), equal=2), (a, b), STAYS_A)
    assert names(choice) == order
    if order == "ba":
        assert choice.reason == "moves: b answers sooner, reads 1000 tokens in 10 s"


def test_one_of_which_nothing_is_known_is_taken_for_as_fast_as_who_holds_it() -> None:
    a, b = holds("a", in_flight=1, work_s=8.0), candidate("b", None)
    assert names(settled(Choice((b, a), equal=2), (a, b), STAYS_A)) == "ab"
    a = holds("a", in_flight=1, work_s=12.0)
    assert names(settled(Choice((b, a), equal=2), (a, b), STAYS_A)) == "ba"


def test_while_nothing_is_known_of_anybody_it_stays() -> None:
    a, b = holds("a", None), candidate("b", None)
    assert names(settled(Choice((b, a), equal=2), (a, b), STAYS_A)) == "ab"


def test_one_without_a_cache_is_stayed_with_as_well_for_nothing_is_gained_elsewhere() -> None:
    a, b = candidate("a", 10.0), candidate("b", 9.8)
    assert names(settled(Choice((b, a), equal=2), (a, b), STAYS_A)) == "ab"


def test_one_that_fails_often_is_left() -> None:
    a, b = holds("a", failing=0.95), candidate("b", 10.0)
    assert names(settled(Choice((b, a), equal=2), (a, b), STAYS_A)) == "ba"


def test_who_cannot_be_asked_is_named() -> None:
    b, c = candidate("b", 10.0), candidate("c", 10.0)
    choice = settled(Choice((b, c), equal=2), (b, c), STAYS_A)
    assert (names(choice), choice.reason) == ("bc", "moves: a cannot be asked, reads 1000 tokens in 10 s")


def test_where_it_has_grown_too_long_for_the_one_that_holds_it_the_reply_says_that() -> None:
    a, b, c = holds("a", context_tokens=500), candidate("b", 10.0), holds("c", context_tokens=2000)
    choice = settled(Choice((b,), "score 0.1"), (a, b, c), STAYS_A)
    assert choice.reason == "moves: too long for a, reads 1000 tokens in 10 s"
    left_out = settled(Choice((b,), "score 0.1"), (a, b, c), replace(QUERY, stays="c"))
    assert left_out.reason == "moves: score 0.1, reads 1000 tokens in 10 s"


def test_no_more_is_read_than_a_context_takes() -> None:
    assert candidate("a", 10.0, context_tokens=500, cached_tokens=400.0).to_read(QUERY) == 100


def test_a_load_is_part_of_the_cost() -> None:
    a, b = holds("a"), replace(candidate("b", 10.0), ready_s=3.25)
    choice = settled(Choice((b, a), "score 0.9"), (a, b), STAYS_A)
    assert choice.reason == "moves: score 0.9, reads 1000 tokens in 10 s, loads for 3.2 s"


@given(fleets(), st.sampled_from("abcdefgh"), st.integers(0, 10))
def test_nobody_is_lost_and_the_reason_is_fit_for_a_header(fleet: list[Candidate], stays: str, equal: int) -> None:
    query = RouteQuery("chat", 1000, now=LAST_SEEN, stays=stays)
    choice = settled(Choice(fleet, "x" * 40, equal=equal), fleet, query)
    assert sorted(names(choice)) == sorted(names(fleet))
    assert choice.reason.isprintable()
    assert len(choice.reason) <= 120


# What the turns tell.


def turn(deployment: str, read: int, written: int, cached: int = 0, **of: Any) -> Turn:
    usage = Usage(read, written, cached)
    reply = Message(Role.ASSISTANT, ())
    return replace(Turn(id="", at=0.0, messages=(), reply=reply, deployment=deployment, usage=usage), **of)


def held(*turns: Turn, new_bytes: int = 0) -> Held:
    return Held(turns, new_bytes)


def test_it_is_held_by_who_answered_last() -> None:
    assert held().by is None
    assert held(turn("a", 1, 1), turn("b", 1, 1)).by == "b"
    assert held(turn("a", 1, 1), turn("", 0, 0)).by == "a"


def test_its_length_is_what_was_counted_last_and_what_is_new() -> None:
    assert held(turn("a", 100, 20), turn("b", 150, 30), new_bytes=40).tokens == 190
    assert held(turn("a", 100, 20), turn("", 0, 0), new_bytes=40).tokens == 130


def test_its_length_is_not_known_where_nobody_counted_or_not_all_of_it_was_sent() -> None:
    assert held(new_bytes=40).tokens == 0
    assert held(turn("a", 100, 20), turn("a", 0, 0, usage=None)).tokens == 0
    assert held(turn("a", 100, 20), turn("a", 90, 20, cut=CUT)).tokens == 0


def test_a_model_that_was_sent_less_than_the_whole_is_known_by_its_last_turn() -> None:
    cut = turn("a", 1, 1, cut=CUT)
    assert held(cut, turn("b", 1, 1)).was_cut("a")
    assert not held(cut, turn("a", 1, 1)).was_cut("a")
    assert not held(cut).was_cut("b")


def test_what_was_read_and_written_last_is_held_as_far_as_such_turned_out_to_be_cached() -> None:
    before = held(turn("a", 100, 20), turn("b", 150, 30), turn("a", 250, 50, 120))
    assert before.cached_tokens("a", 1.0) == 300
    assert before.cached_tokens("a", 0.5) == 150
    assert before.cached_tokens("b", 0.5) == 90
    assert before.cached_tokens("c", 1.0) == 0


@pytest.mark.parametrize(
    ("before", "cached"),
    [
        ([turn("a", 100, 20), turn("a", 150, 30, 120)], 180),
        ([turn("a", 100, 20), turn("a", 150, 30, 60)], 90),
        ([turn("a", 100, 20), turn("b", 150, 30, 99), turn("a", 250, 50, 120)], 300),
        ([turn("a", 100, 20), turn("a", 150, 30)], 0),  # it had its chance
        ([turn("a", 100, 20)], 120),  # nobody has tested it
        ([], 0),
    ],
)
def test_after_a_restart_the_turns_themselves_show_who_has_a_cache(before: list[Turn], cached: float) -> None:
    assert held(*before).cached_tokens("a", 0.0) == cached


def test_a_turn_that_nobody_counted_says_nothing() -> None:
    assert held(turn("a", 100, 20, 10), turn("a", 0, 0, usage=None)).cached_tokens("a", 0.0) == 120
