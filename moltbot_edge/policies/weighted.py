"""Drawn by weight, without putting back: the first place in proportion to the weights, then the second of the rest, ...

`weight` in the configuration is where a deployment begins. With what is learned of it, it gets the share of the work
that it can do: twice the share for one that takes half the time, and less for one that fails.
"""

from __future__ import annotations

from collections.abc import Sequence

from moltbot_edge.api import Candidate, Choice, RouteQuery, Struct, policy

DRAWN = 10  # places; no more are ever tried (`router.attempts`), and a draw among thousands takes its time


@policy("weighted")
class Weighted(Struct, frozen=True):
    """With *learning* off, the weights are those of the configuration and no other."""

    learning: bool = True

    def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Choice:
        """One `chance` draws the whole order: where it falls within the drawn candidate's share is uniform again."""
        if len(candidates) < 2:
            return Choice(candidates)
        rest = list(zip(self.weights(candidates, query), candidates, strict=True))
        order: list[Candidate] = []
        chance = query.chance
        while len(rest) > 1 and len(order) < DRAWN:
            point = chance * sum(weight for weight, _ in rest)
            place = 0
            while point >= (share := rest[place][0]) and place < len(rest) - 1:
                point -= share
                place += 1
            chance = min(point / share, 1.0)  # rounding may carry the point just past the end
            order.append(rest.pop(place)[1])
        rest.sort(key=lambda one: -one[0])
        return Choice([*order, *(candidate for _, candidate in rest)], equal=len(candidates))

    def weights(self, candidates: Sequence[Candidate], query: RouteQuery) -> list[float]:
        """The configured weight, times the deployment's speed beside the others' mean, times its success.

        Speed is of the whole reply, not of its first token, and of an idle deployment: what a queue adds is the
        doing of the weights themselves. Who is not known yet counts as the mean.
        """
        if not self.learning:
            return [candidate.deployment.weight for candidate in candidates]
        times_s = [candidate.alone_s(query) for candidate in candidates]
        rates = [1.0 / seconds for seconds in times_s if seconds is not None]
        mean = sum(rates) / len(rates) if rates else 1.0
        return [
            candidate.deployment.weight
            * (1.0 if seconds is None else 1.0 / seconds / mean)
            * candidate.standing.success(query.now)
            for seconds, candidate in zip(times_s, candidates, strict=True)
        ]
