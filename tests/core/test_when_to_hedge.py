"""When a second machine is asked."""

from __future__ import annotations

import random

import pytest

from moltbot_edge.core.hedging import FEWEST, LEAST_S, RECENT, Expected, late_by, wait_s

QUICK, SLOW = Expected(0.5, 0.5), Expected(5.0, 5.0)
WHOLE = Expected(0.5, 4.5)


@pytest.mark.parametrize(
    ("first", "other", "late", "wait"),
    [
        (None, None, None, 2.0),  # nothing is known
        (QUICK, None, None, 2.0),
        (QUICK, SLOW, 3.0, 1.5),  # late is three times as long as predicted
        (QUICK, SLOW, 8.0, 4.0),
        (QUICK, QUICK, 0.01, LEAST_S),
        (WHOLE, None, None, 6.0),  # the first byte of a reply in one piece is its end
        (WHOLE, None, 2.0, 9.0),
        (SLOW, QUICK, 1.5, 0.0),  # it will miss the deadline, and the other will not
        (SLOW, None, 1.5, 0.0),
        (SLOW, Expected(4.0, 4.0), 1.5, 0.0),
        (SLOW, Expected(6.0, 6.0), 1.5, 7.5),  # so will the other
    ],
)
def test_the_other_is_asked_when_the_first_is_late_or_will_be(
    first: Expected | None, other: Expected | None, late: float | None, wait: float
) -> None:
    assert wait_s(2.0, first, other, late) == pytest.approx(wait)


def test_late_is_what_one_in_twenty_is() -> None:
    chance = random.Random(1)
    ratios = [chance.lognormvariate(0, 0.3) for _ in range(RECENT)]
    late = late_by(ratios)
    assert late is not None
    assert sum(ratio > late for ratio in ratios) == RECENT // 20
    assert late_by(ratios[: FEWEST - 1]) is None
    assert late_by([1.0] * FEWEST) == 1.0
