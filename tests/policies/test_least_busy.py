"""The fewest requests in flight."""

from __future__ import annotations

import pytest
from fleet import QUERY, candidate, names
from msgspec.structs import replace

from moltbot_edge.api import Candidate, Outcome, Standing
from moltbot_edge.core.speed import Sent
from moltbot_edge.policies.least_busy import least_busy


@pytest.mark.parametrize(
    ("fleet", "order"),
    [
        ([], ""),
        ([candidate("a", in_flight=2), candidate("b"), candidate("c", in_flight=1)], "bca"),
        ([candidate("a", in_flight=3, weight=4.0), candidate("b", in_flight=1)], "ab"),
        ([candidate("a", failing=0.9), candidate("b", in_flight=4)], "ba"),
        ([candidate("a", failing=0.9), candidate("b", in_flight=200)], "ab"),
    ],
)
def test_table(fleet: list[Candidate], order: str) -> None:
    assert names(least_busy(fleet, QUERY)) == order


def test_ties_go_to_each_in_turn() -> None:
    fleet = [candidate("a"), candidate("b"), candidate("c", in_flight=1)]
    firsts = [names(least_busy(fleet, replace(QUERY, turn=turn)))[0] for turn in range(6)]
    assert set(firsts) == {"a", "b"}


def test_a_box_that_fails_at_once_attracts_nothing() -> None:
    """One answers in five seconds, the other fails in no time; a request comes every second."""
    slow, broken = Standing(), Standing()
    sent = Sent()
    asked = 0
    under_way: list[float] = []
    for second in range(300):
        now = float(second)
        while under_way and under_way[0] <= now:
            under_way.pop(0)
            slow = slow.ended(sent, Outcome("slow", 200, 5.0, 5.0), now)
        fleet = [candidate("s"), candidate("b")]
        fleet = [replace(fleet[0], standing=slow), replace(fleet[1], standing=broken)]
        for name in names(least_busy(fleet, replace(QUERY, now=now, turn=second))):
            if name == "s":
                slow = slow.started(sent, now)
                under_way.append(now + 5.0)
                break
            asked += 1
            failed = Outcome("broken", 500, 0.0, 0.0, error="upstream_refused")
            broken = broken.started(sent, now).ended(sent, failed, now)
    assert 3 <= asked <= 30
