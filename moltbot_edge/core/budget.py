"""A budget for extra requests: a share of all requests, and some a second however few there are. A value, no clock.

As Finagle's ``RetryBudget``: what fails may be asked again as long as that is seldom; when everything fails, asking
again is the last thing that helps. *now* is `time.monotonic` seconds.
"""

from __future__ import annotations

import msgspec


class Terms(msgspec.Struct, frozen=True):
    """*share* of the requests, and *per_s*; saved up to *most*, which are there from the beginning."""

    share: float
    per_s: float
    most: float


class Budget(msgspec.Struct, frozen=True):
    """*left* as of *now* and the *requests* counted until then: who only counts requests changes nothing here."""

    left: float
    now: float = 0.0
    requests: int = 0

    def balance(self, terms: Terms, requests: int, now: float) -> float:
        earned = terms.share * (requests - self.requests) + terms.per_s * max(now - self.now, 0.0)
        return min(self.left + earned, terms.most)

    def spent(self, terms: Terms, requests: int, now: float) -> Budget | None:
        """With one extra request less; None where there is none left."""
        left = self.balance(terms, requests, now)
        return Budget(left - 1.0, now, requests) if left >= 1.0 else None
