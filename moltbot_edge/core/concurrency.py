"""How many requests an upstream is sent at once: found out by its refusals. A value, without a clock.

AIMD with the numbers of Netflix's concurrency-limits (``AIMDLimit.java``): a tenth less when the upstream says that it
was too much, more while it takes what it gets and the limit is used to the half. Two things are TCP's (RFC 5681):
until the first refusal each reply that begins makes room for one more, later a whole round of them does; and the
refusals of what was sent together are one. Otherwise one burst of 429 would bring the limit down to 1.

What counts as taken is a reply that begins and not one that ends: a reply of minutes would else keep the second dozen
of callers waiting for the first.
"""

from __future__ import annotations

import msgspec

INITIAL = 10
LEAST = 1
BACKOFF = 0.9
TOO_MUCH = frozenset({429, 503})


class Limit(msgspec.Struct, frozen=True):
    """*requests* at once, never over *most*. *round* counts the refusals, *taken_since* the replies since it grew."""

    most: int
    requests: int = INITIAL
    round: int = 0
    taken_since: int = 0

    def taken(self, in_flight: int) -> Limit:
        """*in_flight* counts the request that was taken."""
        if self.requests >= self.most or in_flight * 2 < self.requests:
            return self
        if self.round and self.taken_since + 1 < self.requests:
            return Limit(self.most, self.requests, self.round, self.taken_since + 1)
        return Limit(self.most, self.requests + 1, self.round)

    def refused(self, sent_in_round: int) -> Limit:
        if sent_in_round < self.round:
            return self
        less = min(self.requests - 1, int(self.requests * BACKOFF))
        return Limit(self.most, max(less, LEAST), self.round + 1)


def limit(most: int) -> Limit:
    return Limit(most, min(INITIAL, most))
