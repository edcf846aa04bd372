"""Outcomes, folded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.events import Outcome
from moltbot_edge.core.scoreboard import COOLDOWN_S, LONGEST_COOLDOWN_S, Standing

ANSWERED = Outcome("box", 200, 1.5, first_byte_s=0.5)
REFUSED_TO_CONNECT = Outcome("box", 502, 0.01, error="Unreachable")
ANSWERED_500 = Outcome("box", 502, 0.01, first_byte_s=0.01, error="UpstreamRefused")
BROKE_OFF = Outcome("box", 200, 4.0, first_byte_s=0.5, error="TruncatedReply")


def too_many(retry_after_s: float) -> Outcome:
    return Outcome("box", 429, 0.01, first_byte_s=0.01, error="UpstreamRefused", retry_after_s=retry_after_s)


def test_an_answer_is_counted_and_its_time_kept() -> None:
    assert Standing().started().ended(ANSWERED, now=7.0) == Standing(answered=1, last_seen=7.0)


def test_a_caller_that_left_taught_nothing() -> None:
    before = Standing(answered=3, failed=1, cooling_until=9.0, last_seen=2.0)
    assert before.started().left() == before


def test_who_does_not_answer_at_all_is_spared_for_a_while() -> None:
    standing = Standing().started().ended(REFUSED_TO_CONNECT, now=100.0)
    assert standing == Standing(failed=1, cooling_until=100.0 + COOLDOWN_S)


def test_an_answer_that_is_an_error_brings_no_pause_of_itself() -> None:
    assert Standing().started().ended(ANSWERED_500, now=100.0).cooling_until == 0.0
    assert Standing().started().ended(BROKE_OFF, now=100.0).cooling_until == 0.0


def test_the_pause_that_an_upstream_asks_for_is_kept() -> None:
    assert Standing().started().ended(too_many(30.0), now=100.0).cooling_until == 130.0


def test_nobody_is_sent_away_for_a_day() -> None:
    assert Standing().started().ended(too_many(86_400.0), now=100.0).cooling_until == 100.0 + LONGEST_COOLDOWN_S


def test_a_later_shorter_pause_does_not_cut_an_earlier_one() -> None:
    standing = Standing().started().ended(too_many(60.0), now=100.0).started().ended(REFUSED_TO_CONNECT, now=101.0)
    assert standing.cooling_until == 160.0


def test_an_answer_ends_the_pause() -> None:
    standing = Standing(cooling_until=130.0).started().ended(ANSWERED, now=110.0)
    assert standing.cooling_until == 0.0


@given(st.lists(st.sampled_from(["answered", "failed", "left"])))
def test_nobody_is_lost_in_the_count(ends: list[str]) -> None:
    standing = Standing()
    for _ in ends:
        standing = standing.started()
    assert standing.in_flight == len(ends)
    for end in ends:
        match end:
            case "answered":
                standing = standing.ended(ANSWERED, now=1.0)
            case "failed":
                standing = standing.ended(REFUSED_TO_CONNECT, now=1.0)
            case _:
                standing = standing.left()
    assert (standing.in_flight, standing.answered, standing.failed) == (0, ends.count("answered"), ends.count("failed"))
