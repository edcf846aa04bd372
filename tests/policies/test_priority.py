"""In tiers."""

from __future__ import annotations

import pytest
from fleet import QUERY, candidate, names

from moltbot_edge.api import Candidate
from moltbot_edge.policies.priority import Priority

FLEET = [candidate("a", 3.0), candidate("b", 2.0), candidate("c", 1.0), candidate("d", 0.5)]


@pytest.mark.parametrize(
    ("tiers", "fleet", "order"),
    [
        ((), FLEET, "abcd"),
        ((("c",), ("a",)), FLEET, "cadb"),
        ((("a", "b"), ("c", "d")), FLEET, "badc"),
        ((("a:11434",), ("b",)), FLEET, "abdc"),
        ((("x",),), FLEET, "dcba"),
        # Within a tier as `fastest`: what nobody has seen is tried, with one request at a time.
        ((("a", "b"),), [candidate("a", 1.0), candidate("b")], "ba"),
        ((("a", "b"),), [candidate("a", 1.0), candidate("b", in_flight=1)], "ab"),
    ],
)
def test_table(tiers: tuple[tuple[str, ...], ...], fleet: list[Candidate], order: str) -> None:
    assert names(Priority(tiers)(fleet, QUERY)) == order


def test_a_tier_may_name_a_model_of_the_configuration() -> None:
    told_apart = candidate("chat@box:1", 9.0, registry_name="chat")
    assert names(Priority((("chat",),))([candidate("b", 1.0), told_apart], QUERY)) == "chat@box:1b"
