"""The one whose first token is to be expected soonest: queue + (prompt - cached) / prefill rate + 1 / decode rate.

What nobody has seen yet is tried at once, with one request at a time; what has not been seen for long, now and then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from moltbot_edge.api import Candidate, Choice, Meta, RouteQuery, Standing, Struct, policy
from moltbot_edge.core.staying import first_token_s, known_speed

HASTE = 0.25  # of the time to be asked again, with one answer known: it may have waited for the model to be loaded
TRUSTED = 0.9  # the success below which a box that never answered is not worth a caller's time


@policy("fastest")
class Fastest(Struct, frozen=True):
    """Answers predicted within *tie* of the soonest are equally soon, and one of them is drawn by weight.

    A deployment that has nothing to do and was last asked *revisit_s* ago is taken for nearly three times as fast as
    it was then. One that answered and taught nothing, as with a refusal, is not tried again before.

    A kept conversation makes no experiments, as each would read all of it again: others teach, and its first request.
    """

    tie: Annotated[float, Meta(ge=0, le=1)] = 0.05
    revisit_s: Annotated[float, Meta(gt=0)] = 300.0

    def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Choice:
        if query.stays is not None:
            for candidate in candidates:
                if candidate.deployment.name == query.stays:
                    return self.staying(candidates, query, candidate)
        unseen: list[Candidate] = []
        later: list[Candidate] = []
        known: list[tuple[float, int, Candidate, float]] = []
        for place, candidate in enumerate(candidates):
            seconds = candidate.first_token_s(query)
            if seconds is not None:
                known.append((self.cost_s(candidate, seconds, query.now), place, candidate, seconds))
            elif self.has_been_tried(candidate.standing, query.now):
                later.append(candidate)
            else:
                unseen.append(candidate)
        known.sort()
        if later:
            later.sort(key=lambda candidate: (candidate.standing.in_flight + 1) / candidate.deployment.weight)
        if unseen:
            first = drawn(unseen, query.chance)
            rest = [candidate for candidate in unseen if candidate is not first]
            return Choice([first, *(one for _, _, one, _ in known), *rest, *later], "not seen yet")
        if not known:
            return Choice(later, "nothing known")
        latest_s = known[0][0] * (1.0 + self.tie)
        order = [candidate for _, _, candidate, _ in known]
        place = 0
        if len(known) > 1 and known[1][0] <= latest_s:
            equal = [candidate for cost_s, _, candidate, _ in known if cost_s <= latest_s]
            place = equal.index(drawn(equal, query.chance))
            order.insert(0, order.pop(place))
        return Choice(order + later if later else order, f"predicted {known[place][3]:.3g} s")

    def staying(self, candidates: Sequence[Candidate], query: RouteQuery, last: Candidate) -> Choice:
        """For a conversation that *last* holds, which wins a tie."""
        otherwise = known_speed(last, candidates)
        ranked = []
        for place, one in enumerate(candidates):
            seconds = first_token_s(one, query, otherwise)
            cost_s = seconds / one.standing.success(query.now)
            ranked.append((cost_s / (1.0 + self.tie) if one is last else cost_s, place, seconds))
        ranked.sort()
        return Choice([candidates[place] for _, place, _ in ranked], f"predicted {ranked[0][2]:.3g} s")

    def cost_s(self, candidate: Candidate, seconds: float, now: float) -> float:
        """What a first token predicted in *seconds* costs on average, the failures on the way included."""
        standing = candidate.standing
        if standing.failing:
            seconds /= standing.success(now)
        if not standing.in_flight and standing.last_seen is not None:
            # Not since it was seen: who is gone for good would be sent every caller whenever its rest is over.
            revisit_s = self.revisit_s if standing.speed.lessons > 1 else self.revisit_s * HASTE
            seconds *= math.exp((standing.judged_at - now) / revisit_s)
        return seconds

    def has_been_tried(self, standing: Standing, now: float) -> bool:
        """Whether somebody waits there for what is not known of it, or did so lately and in vain."""
        if standing.in_flight or standing.success(now) < TRUSTED:
            return True
        return standing.last_seen is not None and now - standing.last_seen < self.revisit_s


def drawn(candidates: Sequence[Candidate], chance: float) -> Candidate:
    """One of them, by weight."""
    point = chance * sum(candidate.deployment.weight for candidate in candidates)
    for candidate in candidates:
        point -= candidate.deployment.weight
        if point < 0.0:
            return candidate
    return candidates[-1]
