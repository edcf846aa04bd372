"""Drawn by weight, without putting back: the first place in proportion to `weight`, then the second of the rest, ..."""

from __future__ import annotations

from collections.abc import Sequence

from moltbot_edge.api import Candidate, RouteQuery, policy


@policy("weighted")
def weighted(candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
    """One `chance` draws the whole order: where it falls within the drawn candidate's share is uniform again."""
    if len(candidates) < 2:
        return candidates
    rest = list(candidates)
    order: list[Candidate] = []
    chance = query.chance
    while len(rest) > 1:
        point = chance * sum(candidate.deployment.weight for candidate in rest)
        place = 0
        while point >= (share := rest[place].deployment.weight) and place < len(rest) - 1:
            point -= share
            place += 1
        chance = min(point / share, 1.0)  # rounding may carry the point just past the end
        order.append(rest.pop(place))
    return order + rest
