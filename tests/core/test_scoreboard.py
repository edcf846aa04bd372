"""Outcomes, folded."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from moltbot_edge.core.ejection import EJECTION_S, IN_A_ROW, LONGEST_ASKED_S, UNPROBED_REST_S, Out
from moltbot_edge.core.events import Outcome, Usage
from moltbot_edge.core.scoreboard import (
    FORGET_S,
    HUNG_S,
    LESSON_EVERY_S,
    SCHOOL_DAYS,
    Standing,
)
from moltbot_edge.core.speed import Sent

NEW = Standing()
SENT = Sent(body_bytes=400, prompt_tokens=100, read_tokens=100)
ANSWERED = Outcome("box", 200, 1.5, first_byte_s=0.5, streamed=True, usage=Usage(100, 21))
REFUSED_TO_CONNECT = Outcome("box", 502, 0.01, error="Unreachable", silent=True)
ANSWERED_500 = Outcome("box", 502, 0.01, first_byte_s=0.01, error="UpstreamRefused")
BROKE_OFF = Outcome("box", 200, 4.0, first_byte_s=0.5, error="TruncatedReply")


def too_many(retry_after_s: float) -> Outcome:
    return Outcome("box", 429, 0.01, first_byte_s=0.01, error="UpstreamRefused", retry_after_s=retry_after_s)


def after(outcome: Outcome, standing: Standing = NEW, *, now: float = 100.0) -> Standing:
    """A request that began a second before *now* and ended so."""
    return standing.started(SENT, now - 1.0).ended(SENT, outcome, now)


def working(work_s: float, *more_s: float) -> Standing:
    """Begun at 0, with requests that will take so long."""
    standing = Standing(last_seen=0.0)
    for seconds in (work_s, *more_s):
        standing = standing.started(Sent(work_s=seconds), 0.0)
    return standing


def test_an_answer_is_counted_and_its_time_kept() -> None:
    standing = after(ANSWERED, now=7.0)
    assert (standing.in_flight, standing.answered, standing.failed, standing.last_seen) == (0, 1, 0, 7.0)


def test_a_caller_that_left_taught_nothing() -> None:
    before = Standing(answered=3, failed=1, cooling_until=9.0, last_seen=2.0, since=5.0)
    assert before.started(SENT, 4.0).left(SENT, 5.0) == before


def test_who_does_not_answer_at_all_is_spared_for_a_while() -> None:
    standing = after(REFUSED_TO_CONNECT)
    assert (standing.failed, standing.cooling_until) == (1, 100.0 + UNPROBED_REST_S)


def test_failures_of_many_at_once_bring_one_rest() -> None:
    standing = NEW
    for _ in range(20):
        standing = after(REFUSED_TO_CONNECT, standing)
    assert standing.cooling_until == 100.0 + UNPROBED_REST_S


def test_a_caller_that_waited_far_too_long_for_a_byte_says_that_the_box_hangs() -> None:
    quick, slow = Sent(first_token_s=0.5, work_s=2.0), Sent(first_token_s=5.0, work_s=20.0)
    hangs = NEW.started(quick, 0.0).left(quick, 30.0, silent_s=30.0)
    assert (hangs.in_flight, hangs.failed, hangs.cooling_until) == (0, 1, 30.0 + UNPROBED_REST_S)
    assert not NEW.started(slow, 0.0).left(slow, 30.0, silent_s=30.0).failed
    assert not NEW.started(quick, 0.0).left(quick, 9.0, silent_s=HUNG_S - 1.0).failed
    assert NEW.started(SENT, 0.0).left(SENT, 30.0, silent_s=30.0).failed  # also where nobody knows what to expect


def test_an_answer_that_is_an_error_brings_no_pause_of_itself_but_many_in_a_row_do() -> None:
    for outcome in (ANSWERED_500, BROKE_OFF):
        standing = NEW
        for _ in range(IN_A_ROW - 1):
            standing = after(outcome, standing)
        assert standing.cooling_until == 0.0
        assert after(outcome, standing).cooling_until == 100.0 + EJECTION_S
        assert after(outcome, after(ANSWERED, standing)).cooling_until == 0.0


def test_the_pause_that_an_upstream_asks_for_is_kept() -> None:
    assert after(too_many(30.0)).cooling_until == 130.0


def test_nobody_is_sent_away_for_a_day() -> None:
    assert after(too_many(86_400.0)).cooling_until == 100.0 + LONGEST_ASKED_S


def test_a_later_shorter_pause_does_not_cut_an_earlier_one() -> None:
    assert after(REFUSED_TO_CONNECT, after(too_many(60.0)), now=101.0).cooling_until == 160.0
    assert after(too_many(5.0), after(too_many(60.0)), now=101.0).cooling_until == 160.0


def test_an_answer_to_what_was_sent_before_does_not_end_a_pause_that_was_asked_for() -> None:
    paused = after(too_many(30.0))
    assert after(ANSWERED, paused, now=110.0).cooling_until == 130.0


def test_one_request_at_a_time_tries_whether_a_deployment_is_back_and_its_first_byte_says_so() -> None:
    tried = replace(SENT, tried=True)
    trying = after(too_many(30.0)).started(tried, 130.0)
    assert trying.cooling_until == math.inf
    assert trying.left(tried, 131.0).cooling_until == 130.0
    back = trying.answering(tried, 131.0)
    assert (back.cooling_until, back.health.out, back.in_flight) == (0.0, None, 1)
    assert back.ended(tried, ANSWERED, 132.0).in_flight == 0
    failed = trying.ended(tried, ANSWERED_500, 131.0)
    assert (failed.cooling_until, failed.health.out) == (131.0 + EJECTION_S, Out.FAILING)


def test_failures_tell_at_once_and_are_forgotten_by_and_by() -> None:
    standing = Standing()
    assert standing.success(0.0) == 1.0
    for _ in range(3):
        standing = after(ANSWERED_500, standing)
    assert standing.success(100.0) == pytest.approx(0.34, abs=0.01)
    assert standing.success(100.0 + FORGET_S) == pytest.approx(1 - 0.66 / 2.72, abs=0.01)
    assert after(ANSWERED, standing).success(100.0) > standing.success(100.0)


def test_work_ahead_grows_with_each_request_and_shrinks_as_it_is_done() -> None:
    assert Standing().queue_s(5.0) == 0.0
    assert working(4.0).queue_s(0.0) == 4.0
    assert working(4.0).queue_s(3.0) == 1.0
    assert working(4.0, 4.0, 4.0).queue_s(3.0) == 9.0


def test_what_is_late_is_expected_to_be_as_late_again() -> None:
    assert working(4.0).queue_s(4.0) == 0.0
    assert working(4.0).queue_s(64.0) == 60.0
    assert working(4.0, 4.0).queue_s(64.0) == 64.0


def test_the_work_of_a_request_that_has_ended_is_ahead_of_nobody() -> None:
    standing = working(4.0, 6.0).ended(Sent(work_s=4.0), ANSWERED, 5.0)
    assert standing.queue_s(5.0) == 6.0
    assert standing.queue_s(7.0) == 4.0
    assert standing.left(Sent(work_s=6.0), 8.0).queue_s(8.0) == 0.0


def test_a_thousand_answers_a_second_are_not_all_learned_from_but_a_surprise_is() -> None:
    expected = Sent(body_bytes=400, prompt_tokens=100, read_tokens=100, first_token_s=0.5)
    standing = Standing()
    for i in range(1000):
        standing = standing.started(expected, i / 1000).ended(expected, ANSWERED, i / 1000)
    assert standing.answered == 1000
    assert SCHOOL_DAYS <= standing.speed.lessons <= SCHOOL_DAYS + 1 / LESSON_EVERY_S
    late = Outcome("box", 200, 9.0, first_byte_s=8.0, streamed=True)
    learned = standing.started(expected, 1.0).ended(expected, late, 1.0)
    assert learned.speed.lessons == standing.speed.lessons + 1


def test_the_failures_of_a_machine_that_was_away_are_not_held_against_it_when_a_probe_has_found_it() -> None:
    standing = NEW
    for _ in range(5):
        standing = standing.started(SENT, 99.0).ended(SENT, REFUSED_TO_CONNECT, 100.0, probed=True)
    assert standing.success(100.0) < 0.5
    assert (standing.found().success(100.0), standing.found().cooling_until) == (1.0, 100.0)


@given(st.lists(st.tuples(st.sampled_from(["answered", "failed", "left"]), st.floats(0.01, 100.0))))
def test_nobody_is_lost_in_the_count(ends: list[tuple[str, float]]) -> None:
    standing = Standing()
    for _, work_s in ends:
        standing = standing.started(Sent(work_s=work_s), 0.0)
    assert standing.in_flight == len(ends)
    assert standing.queue_s(0.0) == pytest.approx(sum(work_s for _, work_s in ends))
    kinds = [kind for kind, _ in ends]
    for kind, work_s in ends:
        sent = Sent(work_s=work_s)
        match kind:
            case "answered":
                standing = standing.ended(sent, ANSWERED, now=1.0)
            case "failed":
                standing = standing.ended(sent, REFUSED_TO_CONNECT, now=1.0)
            case _:
                standing = standing.left(sent, now=1.0)
        assert standing.queue_s(1.0) >= 0.0
    assert (standing.in_flight, standing.owed_s) == (0, 0.0)
    assert (standing.answered, standing.failed) == (kinds.count("answered"), kinds.count("failed"))
