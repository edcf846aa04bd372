"""In tiers: the first tier's while one of them can be asked, then the next tier's. Within a tier, the soonest first."""

from __future__ import annotations

from collections.abc import Sequence

from moltbot_edge.api import Candidate, Choice, RouteQuery, Struct, policy


@policy("priority")
class Priority(Struct, frozen=True):
    """*tiers* hold names of models in the configuration, hosts, or hosts with ports; who is in none comes last.

    Without tiers each deployment is one of its own, in the configuration's order.
    """

    tiers: tuple[tuple[str, ...], ...] = ()

    def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Choice:
        if not self.tiers or len(candidates) < 2:
            return Choice(candidates)
        ranked = sorted((self.tier(one), *_soon(one, query), place) for place, one in enumerate(candidates))
        equal = sum(rank[0] == ranked[0][0] for rank in ranked)
        return Choice([candidates[rank[-1]] for rank in ranked], equal=equal)

    def tier(self, candidate: Candidate) -> int:
        deployment = candidate.deployment
        upstream = deployment.upstream
        names = {deployment.shared_name, deployment.name, upstream.host, upstream.name}
        return next((place for place, tier in enumerate(self.tiers) if names.intersection(tier)), len(self.tiers))


def _soon(candidate: Candidate, query: RouteQuery) -> tuple[bool, float]:
    """What is not known yet comes before what is, with one request at a time."""
    seconds = candidate.first_token_s(query)
    if seconds is None:
        return candidate.standing.in_flight > 0, float(candidate.standing.in_flight)
    return True, seconds
