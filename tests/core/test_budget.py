"""What may be asked more often than callers ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.budget import Budget, Terms

FIFTH = Terms(share=0.2, per_s=0.0, most=5.0)


def spent(budget: Budget, terms: Terms, requests: int, now: float = 0.0) -> tuple[Budget, int]:
    """All that there is, and how much that was."""
    count = 0
    while (less := budget.spent(terms, requests, now)) is not None:
        budget, count = less, count + 1
    return budget, count


def test_a_share_of_the_requests_may_be_asked_again() -> None:
    budget, _ = spent(Budget(0.0), FIFTH, 0)
    assert spent(budget, FIFTH, 4)[1] == 0
    budget, count = spent(budget, FIFTH, 10)
    assert count == 2
    assert spent(budget, FIFTH, 15)[1] == 1


def test_some_a_second_may_however_few_requests_there_are() -> None:
    terms = Terms(share=0.2, per_s=10.0, most=100.0)
    assert spent(Budget(0.0), terms, 0, now=1.0)[1] == 10


def test_what_is_saved_up_has_an_end_and_is_there_from_the_beginning() -> None:
    assert spent(Budget(FIFTH.most), FIFTH, 0)[1] == 5
    assert spent(Budget(0.0), FIFTH, 1_000_000)[1] == 5


@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(0.0, 2.0)), max_size=50),
    st.floats(0.0, 1.0),
    st.floats(0.0, 10.0),
    st.floats(0.0, 20.0),
)
def test_never_more_than_the_terms_say(steps: list[tuple[int, float]], share: float, per_s: float, most: float) -> None:
    terms = Terms(share, per_s, most)
    budget, requests, now, extra = Budget(most), 0, 0.0, 0
    for more, seconds in steps:
        requests, now = requests + more, now + seconds
        budget, count = spent(budget, terms, requests, now)
        extra += count
        assert extra <= most + share * requests + per_s * now + 1e-6
