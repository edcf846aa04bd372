"""Who is left out, for how long, and how it comes back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.ejection import (
    EJECTION_S,
    IN_A_ROW,
    LAPSED_S,
    LONGEST_EJECTION_S,
    UNPROBED_REST_S,
    WELL,
    Health,
    Out,
    most_out,
)


def failed(
    health: Health,
    now: float,
    *,
    tried: bool = False,
    silent: bool = False,
    pause_s: float | None = None,
    probed: bool = True,
) -> Health:
    return health.failed(tried, silent, pause_s, probed, now)


def after_many(now: float = 100.0) -> Health:
    health = WELL
    for _ in range(IN_A_ROW):
        health = failed(health, now)
    return health


def test_only_so_many_failures_in_a_row_bring_an_ejection() -> None:
    health = WELL
    for _ in range(3):
        for _ in range(IN_A_ROW - 1):
            health = failed(health, 100.0)
            assert health.out is None
        health = health.answered(False, 100.0)
    assert after_many().out is Out.FAILING
    assert after_many().cooling_until == 100.0 + EJECTION_S


def test_each_further_ejection_is_longer_until_it_has_been_back_for_a_while() -> None:
    health, rests, now = after_many(), [EJECTION_S], 100.0
    for _ in range(11):
        now = health.rest_until
        health = failed(health.tried(), now, tried=True)
        rests.append(health.cooling_until - now)
    assert rests == [min(EJECTION_S * times, LONGEST_EJECTION_S) for times in range(1, 13)]

    back = health.tried().answered(True, 2000.0)
    assert back.out is None
    soon, late = back, back
    for _ in range(IN_A_ROW):
        soon = failed(soon, 2000.0 + LAPSED_S - 1)
        late = failed(late, 2000.0 + LAPSED_S + 1)
    assert soon.rest_until == 2000.0 + LAPSED_S - 1 + LONGEST_EJECTION_S
    assert late.rest_until == 2000.0 + LAPSED_S + 1 + EJECTION_S


def test_one_silence_is_enough_and_a_probe_ends_it_and_no_time() -> None:
    gone = failed(WELL, 100.0, silent=True)
    assert (gone.out, gone.cooling_until) == (Out.SILENT, math.inf)
    assert gone.lost(105.0).cooling_until == math.inf
    assert gone.lost(105.0).found().cooling_until <= 105.0


def test_where_nobody_probes_a_time_ends_it() -> None:
    assert failed(WELL, 100.0, silent=True, probed=False).cooling_until == 100.0 + UNPROBED_REST_S


def test_who_answers_probes_and_nothing_else_is_left_out_for_a_time_as_well() -> None:
    found = failed(WELL, 100.0, silent=True).found()
    again = failed(found.tried(), 101.0, tried=True, silent=True)
    assert again.cooling_until == math.inf
    assert again.found().cooling_until == 101.0 + EJECTION_S


def test_once_a_probe_has_missed_it_a_probe_says_when_it_is_back() -> None:
    found = failed(WELL, 100.0, silent=True).found()
    again = failed(found.tried(), 101.0, tried=True, silent=True)
    assert again.lost(102.0).found().cooling_until == 102.0
    assert after_many().lost(102.0).found().cooling_until == 102.0
    assert failed(WELL, 100.0, pause_s=20.0).lost(102.0).found().cooling_until == 120.0


def test_one_that_dies_twice_in_a_minute_is_back_as_soon_as_the_first_time() -> None:
    back = failed(WELL, 100.0, silent=True).found().tried().answered(True, 102.0)
    assert failed(back, 110.0, silent=True).found().cooling_until <= 110.0


def test_failures_of_what_was_sent_before_do_not_make_a_rest_longer() -> None:
    gone = failed(WELL, 100.0, silent=True)
    for _ in range(20):
        gone = failed(gone, 101.0, silent=True)
    assert gone.found().cooling_until == 100.0
    many = after_many()
    for _ in range(20):
        many = failed(many, 101.0)
    assert many.cooling_until == 100.0 + EJECTION_S


def test_who_is_asked_out_of_need_while_it_rests_is_back_when_it_answers_and_rests_no_longer_when_not() -> None:
    many = after_many()
    assert failed(many.tried(), 110.0, tried=True).cooling_until == many.cooling_until
    assert many.tried().answered(True, 110.0).out is None


def test_an_answer_to_what_was_sent_before_says_that_a_silent_machine_is_there_and_no_more() -> None:
    assert failed(WELL, 100.0, silent=True).answered(False, 101.0).out is None
    assert after_many().answered(False, 101.0).out is Out.FAILING
    assert failed(WELL, 100.0, pause_s=9.0).answered(False, 101.0).out is Out.ASKED


def test_a_probe_that_finds_nobody_takes_out_who_has_not_failed_yet() -> None:
    lost = WELL.lost(100.0)
    assert (lost.out, lost.cooling_until) == (Out.SILENT, math.inf)
    assert lost.found().cooling_until == 100.0


@pytest.mark.parametrize(("of", "most"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (100, 50)])
def test_half_may_be_left_out_and_one_always_stays(of: int, most: int) -> None:
    assert most_out(of) == most


STEPS = st.sampled_from(["failed", "silent", "asked", "answered", "left", "found", "lost", "wait"])


@given(st.lists(STEPS, max_size=60), st.booleans())
def test_whatever_comes_one_who_answers_the_next_trial_is_back(steps: list[str], probed: bool) -> None:
    health, now = WELL, 100.0
    for step in steps:
        now += 1.0
        tried = health.out is not None
        sent = health.tried() if tried else health
        match step:
            case "failed":
                health = failed(sent, now, tried=tried, probed=probed)
            case "silent":
                health = failed(sent, now, tried=tried, silent=True, probed=probed)
            case "asked":
                health = failed(sent, now, tried=tried, pause_s=20.0, probed=probed)
            case "answered":
                health = sent.answered(tried, now)
                assert health.out is None
            case "left":
                health = sent.undecided() if tried else health
            case "found":
                health = health.found()
            case "lost" if probed:
                health = health.lost(now)
            case _:
                now += 50.0
        assert health.trials == 0
        assert (health.out is None) == (health.cooling_until == 0.0)
        assert health.found().cooling_until <= now + LONGEST_EJECTION_S
    health = health.found()
    if health.out is not None:
        health = health.tried().answered(True, max(now, health.rest_until))
    assert health.cooling_until == 0.0
