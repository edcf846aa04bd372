"""Each in turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.api import Candidate, Deployment, RouteQuery, Standing, Upstream
from moltbot_edge.policies.round_robin import round_robin

BOX = Upstream("box", "http", "192.168.1.20", 11434, "/v1")


def candidates(names: str) -> list[Candidate]:
    return [Candidate(Deployment(name, BOX, name), Standing()) for name in names]


@pytest.mark.parametrize(("turn", "order"), [(0, "abc"), (1, "bca"), (2, "cab"), (3, "abc"), (1_000_000, "bca")])
def test_each_request_begins_one_further(turn: int, order: str) -> None:
    ordered = round_robin(candidates("abc"), RouteQuery("chat", turn=turn))
    assert "".join(candidate.deployment.name for candidate in ordered.order) == order


@given(st.integers(0, 12), st.integers(min_value=0))
def test_nobody_is_lost_and_nobody_comes_twice(count: int, turn: int) -> None:
    given_ones = candidates("abcdefghijkl"[:count])
    ordered = round_robin(given_ones, RouteQuery("chat", turn=turn))
    assert {id(one) for one in ordered.order} == {id(one) for one in given_ones}
    assert len(ordered.order) == count


def test_what_it_was_given_stays_as_it_was() -> None:
    given_ones = candidates("abc")
    before = list(given_ones)
    round_robin(given_ones, RouteQuery("chat", turn=1))
    assert given_ones == before
