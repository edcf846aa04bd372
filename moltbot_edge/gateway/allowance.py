"""What may be asked more often than callers ask: the one copy of a `core.budget` that changes."""

from __future__ import annotations

from collections.abc import Callable

from moltbot_edge.core.budget import Budget, Terms


class Allowance:
    """*now* is `time.monotonic`. Who answers callers counts *requests* up."""

    def __init__(self, terms: Terms, now: Callable[[], float]) -> None:
        self.requests = 0
        self._terms = terms
        self._now = now
        self._budget = Budget(terms.most, now())

    def spend(self) -> bool:
        """Whether one more may be asked; then it is counted."""
        budget = self._budget.spent(self._terms, self.requests, self._now())
        if budget is None:
            return False
        self._budget = budget
        return True

    @property
    def left(self) -> float:
        return self._budget.balance(self._terms, self.requests, self._now())
