"""How many at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.concurrency import INITIAL, LEAST, Limit, limit


def test_it_begins_small_and_grows_with_each_reply_that_begins_up_to_the_most() -> None:
    one = limit(256)
    assert one.requests == INITIAL
    for _ in range(300):
        one = one.taken(one.requests)
    assert one.requests == 256
    assert limit(4).requests == 4


def test_what_is_not_used_to_the_half_says_nothing_of_more() -> None:
    assert Limit(256, 20).taken(9).requests == 20
    assert Limit(256, 20).taken(10).requests == 21


def test_after_a_refusal_it_takes_a_whole_round_to_grow() -> None:
    one = Limit(256, 10).refused(0)
    for _ in range(one.requests):
        assert one.requests == 9
        one = one.taken(9)
    assert one.requests == 10


@pytest.mark.parametrize(("before", "after"), [(100, 90), (10, 9), (3, 2), (2, 1), (1, 1)])
def test_a_refusal_takes_a_tenth_and_at_least_one(before: int, after: int) -> None:
    assert Limit(256, before).refused(0).requests == after


def test_refusals_of_what_was_sent_together_are_one() -> None:
    one = Limit(256, 100)
    for _ in range(50):
        one = one.refused(0)
    assert one.requests == 90
    assert one.refused(1).requests == 81


@given(st.integers(1, 300), st.lists(st.sampled_from(["taken", "refused", "late"]), max_size=200))
def test_it_stays_between_one_and_the_most(most: int, steps: list[str]) -> None:
    one = limit(most)
    for step in steps:
        before = one
        match step:
            case "taken":
                one = one.taken(one.requests)
            case "refused":
                one = one.refused(one.round)
            case _:
                one = one.refused(one.round - 1)
                assert one is before
        assert LEAST <= one.requests <= most


@pytest.mark.parametrize("takes", [1, 4, 30])
def test_it_settles_about_what_the_upstream_takes(takes: int) -> None:
    """Always as many as allowed at once; those over what it takes are refused."""
    one = limit(256)
    sent = []
    for _ in range(400):
        count = one.requests
        sent.append(count)
        in_round = one.round
        for _ in range(min(count, takes)):
            one = one.taken(count)
        for _ in range(count - takes):
            one = one.refused(in_round)
    late = sent[200:]
    assert max(late) <= takes + 1
    assert min(late) >= int(takes * 0.9)
