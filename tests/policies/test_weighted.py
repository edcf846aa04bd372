"""Drawn by weight."""

from __future__ import annotations

import random
from collections import Counter

import fleet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.api import Candidate, Deployment, Outcome, RouteQuery, Standing, Upstream, Usage
from moltbot_edge.core.speed import Sent
from moltbot_edge.policies.weighted import Weighted

BOX = Upstream("box", "http", "192.168.1.20", 11434, "/v1")
DRAWS = 10_000
WEIGHTS = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
CHANCES = st.floats(min_value=0, max_value=1, exclude_max=True)


def candidates(*weights: float) -> list[Candidate]:
    return [Candidate(Deployment(str(i), BOX, "m", weight=weight), Standing()) for i, weight in enumerate(weights)]


def order(weights: tuple[float, ...], chance: float) -> tuple[int, ...]:
    drawn = Weighted()(candidates(*weights), RouteQuery("chat", chance=chance))
    return tuple(int(candidate.deployment.name) for candidate in drawn.order)


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
    Weighted()(given_ones, RouteQuery("chat", chance=0.9))
    assert given_ones == before


def test_weights_converge_to_the_rates_that_the_deployments_have() -> None:
    """Three machines, of which nothing is known at first; each answers what it is drawn for."""
    noise = random.Random(4)
    rates = {"a": 1.0, "b": 2.0, "c": 5.0}
    standings = dict.fromkeys(rates, Standing())
    policy = Weighted()
    drawn: Counter[str] = Counter()
    for second in range(3000):
        query = RouteQuery("chat", prompt_tokens=100, chance=noise.random(), now=float(second))
        fleet = [Candidate(Deployment(name, BOX, "m"), standing) for name, standing in standings.items()]
        name = policy(fleet, query).order[0].deployment.name
        drawn[name] += second >= 100
        whole_s = noise.gauss(1.0, 0.15) / rates[name]
        outcome = Outcome(name, 200, whole_s, 0.3 * whole_s, usage=Usage(100, 20), streamed=True)
        sent = Sent(400, 100.0, 0.0, 100.0)
        standings[name] = standings[name].started(sent, query.now).ended(sent, outcome, query.now)
    for name, rate in rates.items():
        assert drawn[name] / drawn.total() == pytest.approx(rate / sum(rates.values()), abs=0.04)


def test_the_configured_weight_is_where_it_begins_and_what_it_is_multiplied_with() -> None:
    query = RouteQuery("chat", prompt_tokens=1000)
    unknown, quick, slow = fleet.candidate("u", weight=2.0), fleet.candidate("q", 0.5), fleet.candidate("s", 2.0)
    assert Weighted().weights([unknown, unknown], query) == [2.0, 2.0]
    of_unknown, of_quick, of_slow = Weighted().weights([unknown, quick, slow], query)
    assert of_quick / of_slow == pytest.approx((2.0 + 1.0) / (0.5 + 1.0))
    assert of_unknown == pytest.approx(2.0 * (of_quick + of_slow) / 2)
    assert Weighted(learning=False).weights([unknown, quick, slow], query) == [2.0, 1.0, 1.0]


def test_who_fails_is_drawn_less_and_not_never() -> None:
    query = RouteQuery("chat", now=fleet.LAST_SEEN)
    well, failing, dead = (Weighted().weights([fleet.candidate("x", failing=share)], query)[0] for share in (0, 0.5, 1))
    assert (well, failing) == (1.0, 0.5)
    assert 0.0 < dead < 0.1
