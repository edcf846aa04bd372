"""The soonest first token."""

from __future__ import annotations

from collections import Counter

import pytest
from fleet import QUERY, candidate, fleets, names
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from moltbot_edge.api import Candidate
from moltbot_edge.policies.fastest import Fastest, drawn

CHANCES = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("fleet", "order"),
    [
        ([candidate("a", 2.0), candidate("b", 0.5), candidate("c", 1.0)], "bca"),
        # A queue counts: 4 s of work before it, and none.
        ([candidate("a", 1.0, in_flight=2, work_s=2.0), candidate("b", 3.0)], "ba"),
        # ... but not where all are served at once.
        ([candidate("a", 1.0, in_flight=2, work_s=2.0, crowding=0.0), candidate("b", 3.0)], "ab"),
        # What is cached need not be read.
        ([candidate("a", 1.0), candidate("b", 5.0, cached_tokens=900)], "ba"),
        # A failure costs what it takes to be answered at last.
        ([candidate("a", 1.0, failing=0.8), candidate("b", 3.0)], "ba"),
        ([candidate("a", 1.0, failing=0.5), candidate("b", 3.0)], "ab"),
        # What nobody has seen is tried, with one request at a time.
        ([candidate("a", 1.0), candidate("b")], "ba"),
        ([candidate("a", 1.0), candidate("b", in_flight=1)], "ab"),
        ([candidate("a", in_flight=2), candidate("b", in_flight=1)], "ba"),
        # ... and not at a caller's cost where it has failed.
        ([candidate("a", 1.0), candidate("b", failing=0.3)], "ab"),
        # What was seen long ago may have become better.
        ([candidate("a", 1.0), candidate("b", 5.0, judged_at=400.0)], "ba"),
        ([candidate("a", 1.0), candidate("b", 5.0, judged_at=900.0)], "ab"),
        # ... but not one that is asked in vain all the time.
        ([candidate("a", 1.0), candidate("b", 5.0, last_seen=0.0, failing=0.3)], "ab"),
    ],
)
def test_table(fleet: list[Candidate], order: str) -> None:
    assert names(Fastest()(fleet, QUERY)) == order


def test_who_answered_and_taught_nothing_is_not_tried_again_at_once() -> None:
    refuses = candidate("b")
    refuses = replace(refuses, standing=replace(refuses.standing, last_seen=QUERY.now - 1.0))
    assert names(Fastest()([candidate("a", 1.0), refuses], QUERY)) == "ab"
    assert names(Fastest()([candidate("a", 1.0), refuses], replace(QUERY, now=QUERY.now + 300.0))) == "ba"


def test_who_has_answered_once_is_tried_again_sooner() -> None:
    once = candidate("b", 5.0, judged_at=900.0)
    once = replace(once, standing=replace(once.standing, speed=replace(once.standing.speed, lessons=1)))
    later = replace(QUERY, now=QUERY.now + 100.0)
    assert names(Fastest()([candidate("a", 1.0, judged_at=later.now), once], later)) == "ba"
    assert (
        names(Fastest()([candidate("a", 1.0, judged_at=later.now), candidate("b", 5.0, judged_at=900.0)], later))
        == "ab"
    )


def test_the_reason_says_what_is_expected() -> None:
    assert Fastest()([candidate("a", 2.0), candidate("b", 0.5)], QUERY).reason == "predicted 0.5 s"
    assert Fastest()([candidate("a", 2.0), candidate("b")], QUERY).reason == "not seen yet"


def test_ties_are_broken_at_random_by_weight() -> None:
    fleet = [candidate("a", 1.0, weight=3.0), candidate("b", 1.02), candidate("c", 1.2)]
    first = Counter(names(Fastest()(fleet, replace(QUERY, chance=i / 1000)))[0] for i in range(1000))
    assert first == {"a": 750, "b": 250}


@given(fleets(), CHANCES)
def test_who_is_first_is_not_predicted_much_later_than_another(fleet: list[Candidate], chance: float) -> None:
    policy = Fastest()
    query = replace(QUERY, chance=chance)
    ordered = policy(fleet, query).order
    known = [(one, seconds) for one in ordered if (seconds := one.first_token_s(query)) is not None]
    costs = [policy.cost_s(one, seconds, query.now) for one, seconds in known]
    if costs and ordered[0].standing.speed.known:
        assert costs[0] <= min(costs) * 1.05 + 1e-9
        assert costs[2:] == sorted(costs[2:])


@given(st.lists(st.floats(0.001, 1000), min_size=1), CHANCES)
def test_somebody_is_always_drawn(weights: list[float], chance: float) -> None:
    fleet = [candidate("x", weight=weight) for weight in weights]
    assert drawn(fleet, chance) in fleet
