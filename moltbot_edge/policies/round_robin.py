"""Each deployment in turn: request n of a route begins at candidate n."""

from __future__ import annotations

from collections.abc import Sequence

from moltbot_edge.api import Candidate, RouteQuery, policy


@policy("round-robin")
def round_robin(candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
    if len(candidates) < 2:
        return candidates
    first = query.turn % len(candidates)
    return [*candidates[first:], *candidates[:first]]
