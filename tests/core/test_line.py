"""A fixed cost and a cost for each token, found again."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.line import Line

SIZES = st.floats(1.0, 1e5)
TIMES = st.floats(1e-4, 1e4)


def fitted(points: Sequence[tuple[float, float]]) -> Line:
    line = Line()
    for x, y in points:
        line = line.plus(x, y)
    return line


@pytest.mark.parametrize(("base", "slope"), [(0.0, 0.01), (0.2, 0.002), (5.0, 0.08), (0.05, 0.0001)])
def test_what_made_the_points_is_found_within_a_few_percent(base: float, slope: float) -> None:
    chance = random.Random(1)
    sizes = [chance.lognormvariate(6, 1) for _ in range(60)]
    line = fitted([(x, (base + slope * x) * chance.uniform(0.9, 1.1)) for x in sizes])
    for x in (100, 400, 2000):
        assert line.at(x) == pytest.approx(base + slope * x, rel=0.1)


def test_one_point_gives_a_rate_and_no_fixed_cost() -> None:
    line = Line().plus(200, 4.0)
    assert line.at(100) == pytest.approx(2.0, rel=0.05)
    assert line.at(400) == pytest.approx(8.0, rel=0.05)


def test_what_has_changed_is_followed_within_twenty_points() -> None:
    line = fitted([(x, x / 100) for x in range(100, 200)] + [(x, x / 20) for x in range(100, 140)])
    assert line.at(150) == pytest.approx(7.5, rel=0.2)


def test_one_point_far_off_is_not_believed_over_many() -> None:
    usual = fitted([(x, 0.1 + x / 100) for x in range(50, 1000, 20)])
    assert usual.plus(500, 60.0).at(500) == pytest.approx(5.1, rel=0.2)
    assert usual.plus(500, 0.001).at(500) == pytest.approx(5.1, rel=0.2)


@pytest.mark.parametrize("point", [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (1.0, -1.0), (float("nan"), 1.0)])
def test_what_cannot_be_teaches_nothing(point: tuple[float, float]) -> None:
    assert Line().plus(*point) == Line()


@given(st.lists(st.tuples(SIZES, TIMES), min_size=1, max_size=60))
def test_neither_cost_is_ever_negative(points: list[tuple[float, float]]) -> None:
    line = fitted(points)
    assert line.base >= 0.0
    assert line.slope >= 0.0
    assert line.at(points[-1][0]) > 0.0


@given(SIZES, TIMES, st.integers(1, 50))
def test_the_same_point_again_and_again_is_met(x: float, y: float, times: int) -> None:
    assert fitted([(x, y)] * times).at(x) == pytest.approx(y, rel=0.05)
