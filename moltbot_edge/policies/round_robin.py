"""Each deployment in turn: request n of a route begins at candidate n."""

from __future__ import annotations

from collections.abc import Sequence

from moltbot_edge.api import Candidate, Choice, RouteQuery, policy


@policy("round-robin")
def round_robin(candidates: Sequence[Candidate], query: RouteQuery) -> Choice:
    count = len(candidates)
    if count < 2:
        return Choice(candidates)
    first = query.turn % count
    return Choice([*candidates[first:], *candidates[:first]], equal=count)
