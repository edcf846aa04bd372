"""The one with the fewest requests in flight, for its weight and for how many of them it answers.

A box that fails at once never has a request in flight, so by that count alone it would be sent every one. What each has
in flight therefore counts the more, the fewer of them it answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from moltbot_edge.api import Candidate, Choice, RouteQuery, policy


@policy("least-busy")
def least_busy(candidates: Sequence[Candidate], query: RouteQuery) -> Choice:
    """Ties go to each in turn."""
    count = len(candidates)
    if count < 2:
        return Choice(candidates)
    first = query.turn % count
    turned = [*candidates[first:], *candidates[:first]]

    def load(candidate: Candidate) -> float:
        standing = candidate.standing
        # Squared: a caller waits for a failure too, and then another deployment has the work after all.
        return (standing.in_flight + 1) / (candidate.deployment.weight * standing.success(query.now) ** 2)

    return Choice(sorted(turned, key=load), equal=count)
