"""Drawn by weight."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.api import Candidate, Deployment, RouteQuery, Standing, Upstream
from moltbot_edge.policies.weighted import weighted

BOX = Upstream("box", "http", "192.168.1.20", 11434, "/v1")
DRAWS = 10_000
WEIGHTS = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
CHANCES = st.floats(min_value=0, max_value=1, exclude_max=True)


def candidates(*weights: float) -> list[Candidate]:
    return [Candidate(Deployment(str(i), BOX, "m", weight=weight), Standing()) for i, weight in enumerate(weights)]


def order(weights: tuple[float, ...], chance: float) -> tuple[int, ...]:
    drawn = weighted(candidates(*weights), RouteQuery("chat", chance=chance))
    return tuple(int(candidate.deployment.name) for candidate in drawn)


def every_order(*weights: float) -> Counter[tuple[int, ...]]:
    """How often each order comes over an even grid of chances."""
    return Counter(order(weights, (i + 0.5) / DRAWS) for i in range(DRAWS))


@given(st.lists(WEIGHTS, max_size=12), CHANCES)
def test_nobody_is_lost_and_nobody_comes_twice(weights: list[float], chance: float) -> None:
    assert sorted(order(tuple(weights), chance)) == list(range(len(weights)))


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0), (1.0, 2.0), (5.0, 1.0, 2.0), (0.1, 0.1, 0.8), (1.0,) * 8])
def test_the_first_place_falls_to_each_by_its_weight(weights: tuple[float, ...]) -> None:
    firsts: Counter[int] = Counter()
    for drawn, times in every_order(*weights).items():
        firsts[drawn[0]] += times
    for place, weight in enumerate(weights):
        assert firsts[place] / DRAWS == pytest.approx(weight / sum(weights), abs=0.01)


def test_the_second_place_falls_to_the_others_by_theirs() -> None:
    orders = every_order(5.0, 1.0, 3.0)
    after_the_first = {drawn[1:]: times for drawn, times in orders.items() if drawn[0] == 0}
    total = sum(after_the_first.values())
    assert after_the_first[(2, 1)] / total == pytest.approx(3 / 4, abs=0.01)
    assert after_the_first[(1, 2)] / total == pytest.approx(1 / 4, abs=0.01)


def test_equal_weights_bring_every_order_alike() -> None:
    orders = every_order(1.0, 1.0, 1.0, 1.0)
    assert len(orders) == 24
    assert min(orders.values()) / DRAWS == pytest.approx(1 / 24, abs=0.01)
    assert max(orders.values()) / DRAWS == pytest.approx(1 / 24, abs=0.01)


def test_the_same_chance_draws_the_same() -> None:
    assert order((1.0, 1.0), 0.0) == (0, 1)
    assert order((1.0, 1.0), 0.499) == (0, 1)
    assert order((1.0, 1.0), 0.5) == (1, 0)


def test_what_it_was_given_stays_as_it_was() -> None:
    given_ones = candidates(1.0, 2.0, 3.0)
    before = list(given_ones)
    weighted(given_ones, RouteQuery("chat", chance=0.9))
    assert given_ones == before
