"""The lowest price that is soon enough."""

from __future__ import annotations

import pytest
from fleet import QUERY, candidate, names
from msgspec.structs import replace

from moltbot_edge.api import Candidate
from moltbot_edge.policies.cheapest import Cheapest, price


def priced(name: str, first_token_s: float | None, paid: float) -> Candidate:
    return candidate(name, first_token_s, price_input_per_mtok=paid, price_output_per_mtok=paid)


@pytest.mark.parametrize(
    ("fleet", "order", "reason"),
    [
        ([priced("a", 1.0, 5.0), priced("b", 2.0, 1.0)], "ba", "price 1 per million"),
        ([priced("a", 1.0, 5.0), priced("b", 20.0, 1.0)], "ab", "price 5 per million"),
        ([priced("a", 30.0, 0.0), priced("b", 20.0, 1.0)], "ba", "none within 10 s"),
        ([priced("a", 1.0, 0.0), priced("b", 0.5, 0.0)], "ba", "price 0 per million"),
        ([priced("a", 1.0, 5.0), priced("b", None, 1.0)], "ba", "price 1 per million"),
        ([], "", "none within 10 s"),
    ],
)
def test_table(fleet: list[Candidate], order: str, reason: str) -> None:
    choice = Cheapest()(fleet, QUERY)
    assert (names(choice), choice.reason) == (order, reason)


def test_a_queue_may_make_the_cheap_one_too_late() -> None:
    fleet = [candidate("a", 1.0, in_flight=5, work_s=3.0), priced("b", 1.0, 2.0)]
    assert names(Cheapest()(fleet, QUERY)) == "ba"
    assert names(Cheapest(within_s=60.0)(fleet, QUERY)) == "ab"


def test_tokens_written_count_as_many_as_there_mostly_are() -> None:
    wordy = candidate("a", 1.0, price_output_per_mtok=10.0)
    spoken = replace(wordy.standing, speed=replace(wordy.standing.speed, output_tokens=1000.0))
    assert price(replace(wordy, standing=spoken), QUERY) == 5.0
    assert price(wordy, QUERY) == pytest.approx(10 * 256 / 1256)
