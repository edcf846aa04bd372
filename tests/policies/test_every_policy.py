"""What holds for each built-in policy, whatever the deployments are like."""

from __future__ import annotations

import pytest
from fleet import LAST_SEEN, fleets, names
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from moltbot_edge.api import Candidate, Choice, RouteQuery
from moltbot_edge.core.routing import eligible
from moltbot_edge.kernel.registry import BUILTINS, Registry

OPTIONS: dict[str, list[dict[str, object]]] = {
    "cheapest": [{}, {"within_s": 0.5}],
    "fastest": [{}, {"tie": 0.0}, {"tie": 1.0, "revisit_s": 1.0}],
    "priority": [{}, {"tiers": [["a", "c"], ["b"]]}],
    "sticky": [{}, {"by": "prompt"}],
    "weighted": [{}, {"learning": False}],
}
EVERY = pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name in BUILTINS["policy"] for options in OPTIONS.get(name, [{}])]
)
FEW = settings(max_examples=30)  # of each policy and its options
QUERIES = st.builds(
    RouteQuery,
    st.just("chat"),
    st.integers(0, 100_000),
    st.none() | st.text(max_size=20),
    st.integers(0, 1000),
    st.floats(0, 1, exclude_max=True),
    body=st.binary(max_size=50),
    now=st.floats(LAST_SEEN, LAST_SEEN + 1000),
)


@EVERY
@FEW
@given(fleet=fleets(), query=QUERIES)
def test_it_orders_all_that_it_is_given_and_adds_none(
    name: str, options: dict[str, object], fleet: list[Candidate], query: RouteQuery
) -> None:
    before = list(fleet)
    ordered = names(Registry().build("policy", name, options)(fleet, query))
    assert sorted(ordered) == sorted(names(fleet))
    assert fleet == before


@EVERY
@FEW
@given(fleet=fleets(), query=QUERIES)
def test_it_answers_the_same_question_alike(
    name: str, options: dict[str, object], fleet: list[Candidate], query: RouteQuery
) -> None:
    policy = Registry().build("policy", name, options)
    assert names(policy(fleet, query)) == names(policy(list(fleet), query))


@EVERY
@FEW
@given(fleet=fleets(), query=QUERIES, cooling=st.lists(st.booleans(), min_size=8, max_size=8))
def test_who_cools_down_is_never_chosen_while_another_is_eligible(
    name: str, options: dict[str, object], fleet: list[Candidate], query: RouteQuery, cooling: list[bool]
) -> None:
    fleet = [
        replace(one, standing=replace(one.standing, cooling_until=query.now + 5.0)) if cools else one
        for one, cools in zip(fleet, cooling, strict=False)
    ]
    resting = {one.deployment.name for one in fleet if one.standing.cooling_until > query.now}
    said = Registry().build("policy", name, options)(eligible(fleet, query), query)
    ordered = names(said)
    if len(resting) < len(fleet):
        assert not resting & set(ordered)
    else:
        assert len(ordered) == min(len(fleet), 1)


@EVERY
@FEW
@given(fleet=fleets(), query=QUERIES)
def test_its_reason_is_fit_for_a_header(
    name: str, options: dict[str, object], fleet: list[Candidate], query: RouteQuery
) -> None:
    said = Registry().build("policy", name, options)(fleet, query)
    if isinstance(said, Choice):
        assert said.reason.isascii()
        assert said.reason.isprintable()
        assert len(said.reason) <= 120
