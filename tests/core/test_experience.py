"""What became of requests that look alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.experience import DAY_S, PRIOR_MASS, Tally, drawn, expected

WEIGHTS = st.floats(0, 10_000)
TALLIES = st.builds(Tally, WEIGHTS, WEIGHTS)
CHANCES = st.floats(0, 1, exclude_max=True)


def test_of_nothing_nothing_is_expected_either_way() -> None:
    assert expected(Tally(), Tally()) == 0.5


def test_few_answers_of_a_cohort_weigh_little_beside_all_the_others() -> None:
    overall = Tally(good=800, bad=200)
    assert expected(Tally(), overall) == pytest.approx(0.8, abs=0.001)
    assert expected(Tally(bad=2), overall) == pytest.approx(0.8 * PRIOR_MASS / (PRIOR_MASS + 2), abs=0.001)
    assert expected(Tally(bad=1000), overall) < 0.02


def test_half_of_what_is_known_is_forgotten_in_ten_weeks() -> None:
    later = Tally(good=10, bad=4).faded(69 * DAY_S)
    assert [later.good, later.bad] == pytest.approx([5, 2], abs=0.01)
    assert Tally(good=10, at=DAY_S).faded(0.0).good == 10, "a clock that was set back forgets nothing"


def test_what_is_counted_before_a_board_was_told_the_time_ages_nothing() -> None:
    today = 20_000 * DAY_S
    tally = Tally(good=10, bad=4, at=today).after(1.0, 0.0, 0.0)
    later = tally.faded(today)
    assert [later.good, later.bad] == [11, 4]


def test_what_was_counted_can_be_taken_back_and_not_more() -> None:
    tally = Tally(good=1).after(-1, 1, 0.0)
    assert (tally.good, tally.bad) == (0, 1)
    assert tally.after(-1, -5, 0.0).seen == 0


def test_the_middle_of_what_is_possible_is_what_is_expected() -> None:
    tally, overall = Tally(good=30, bad=10), Tally(good=300, bad=200)
    assert drawn(tally, overall, 0.5) == pytest.approx(expected(tally, overall))


def test_the_more_is_known_the_less_a_draw_strays() -> None:
    overall = Tally(good=50, bad=50)

    def width(answers: float) -> float:
        tally = Tally(good=answers, bad=answers)
        return drawn(tally, overall, 0.9) - drawn(tally, overall, 0.1)

    assert width(0) > width(10) > width(100) > width(10_000) > 0


def test_draws_stray_as_the_beta_distribution_does() -> None:
    """Its standard deviation, for 60 good and 20 bad beside a prior of 15 and 5 (20 in all)."""
    tally, overall = Tally(good=60, bad=20), Tally(good=75, bad=25)
    draws = [drawn(tally, overall, (i + 0.5) / 1000, 20.0) for i in range(1000)]
    mean = sum(draws) / 1000
    deviation = (sum((one - mean) ** 2 for one in draws) / 1000) ** 0.5
    assert mean == pytest.approx(0.75, abs=0.01)
    assert deviation == pytest.approx((0.75 * 0.25 / 101) ** 0.5, rel=0.1)


@given(TALLIES, TALLIES, CHANCES, CHANCES)
def test_a_draw_is_a_chance_and_rises_with_its_place(own: Tally, overall: Tally, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= drawn(own, overall, low) <= drawn(own, overall, high) <= 1


@given(TALLIES, TALLIES, st.floats(0.1, 100))
def test_a_good_answer_never_lowers_and_a_bad_one_never_raises(own: Tally, overall: Tally, weight: float) -> None:
    before = expected(own, overall)
    assert expected(own.after(weight, 0, 0.0), overall) >= before - 1e-9
    assert expected(own.after(0, weight, 0.0), overall) <= before + 1e-9
