"""The lowest price, among those whose first token comes soon enough.

Prices are what the configuration says, `price_input_per_mtok` and `price_output_per_mtok`: for a million tokens, in
whatever money. A deployment without prices costs nothing: it is the user's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from moltbot_edge.api import Candidate, Choice, Meta, RouteQuery, Struct, policy

USUAL_OUTPUT_TOKENS = 256.0  # of a reply, before any has been seen
SAME_PRICE = 1.05  # times the lowest: how long a model's replies are is never known to the token


@policy("cheapest")
class Cheapest(Struct, frozen=True):
    """*within_s* is the longest that a caller should wait for the first token. What cannot keep to it comes after."""

    within_s: Annotated[float, Meta(gt=0)] = 10.0

    def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Choice:
        ranked = sorted((self._rank(candidate, query), place, candidate) for place, candidate in enumerate(candidates))
        order = [candidate for _, _, candidate in ranked]
        if not ranked or ranked[0][0][0]:
            return Choice(order, f"none within {self.within_s:g} s", equal=len(order))
        lowest = ranked[0][0][1]
        equal = sum(not late and costs <= lowest * SAME_PRICE for (late, costs, _), _, _ in ranked)
        return Choice(order, f"price {lowest:.3g} per million", equal=equal)

    def _rank(self, candidate: Candidate, query: RouteQuery) -> tuple[bool, float, float]:
        """In time by price, then the others by time. One that is not known yet counts as in time."""
        seconds = candidate.first_token_s(query) or 0.0
        if seconds > self.within_s:
            return True, seconds, 0.0
        return False, price(candidate, query), seconds


def price(candidate: Candidate, query: RouteQuery) -> float:
    """Of a million such tokens: those of the prompt, and those of a reply as long as they are there."""
    deployment = candidate.deployment
    prompt_tokens = candidate.tokens(query)
    output_tokens = candidate.standing.speed.output_tokens or USUAL_OUTPUT_TOKENS
    cost = prompt_tokens * deployment.price_input_per_mtok + output_tokens * deployment.price_output_per_mtok
    return cost / (prompt_tokens + output_tokens)
