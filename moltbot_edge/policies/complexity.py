"""By how hard the question looks: an easy one to a weak model, a hard one to a strong model.

Two forms. The rule compares a score with thresholds. The learned form (``learn: true``) goes by what became of
requests that look alike: to the weakest model that does as well as the default one, and to a stronger one where the
default one is not good enough. Of what it does not know it says so, and takes the default one.

What both are worth is measured in docs/complexity.md, and is modest.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Annotated

from moltbot_edge.api import Candidate, Choice, Meta, RouteQuery, Struct, Tally, policy
from moltbot_edge.core.difficulty import difficulty
from moltbot_edge.core.experience import ALL, PRIOR_MASS, drawn
from moltbot_edge.core.routing import able

Share = Annotated[float, Meta(ge=0, le=1)]

LOWEST, HIGHEST = 0.3, 0.7  # of the user's rule, for three models; between two, the middle
DRAWS = 16  # from one chance: as many numbers of 32 bits as one hash has


@policy("complexity")
class Complexity(Struct, frozen=True, forbid_unknown_fields=True):
    """*targets* are models from the weakest to the strongest; left out, the alias's models in their order.

    *above* are the scores beyond which the next one is asked. *default* is the one for requests of which nothing is
    known; left out, the strongest.

    When learning: *good_enough* is the rate of good answers beyond which no stronger model is sought, *margin* what a
    weaker one may be worse than the default, *known* how many answers in a cohort it takes to be judged there, and
    *explore* the share of requests that go to one of which less is known. *prior_mass* is how many answers a model's
    rate in all cohorts counts for in one.
    """

    targets: Annotated[tuple[str, ...], Meta(max_length=DRAWS - 2)] = ()
    above: tuple[Share, ...] = ()
    default: str | None = None
    learn: bool = False
    good_enough: Share = 0.75
    margin: Share = 0.02
    known: Annotated[float, Meta(gt=0)] = 10.0
    explore: Share = 0.05
    prior_mass: Annotated[float, Meta(gt=0)] = PRIOR_MASS

    def __post_init__(self) -> None:
        if list(self.above) != sorted(self.above):
            raise ValueError(f"`above` has to rise, found {list(self.above)}")
        if self.above and self.targets and len(self.above) != len(self.targets) - 1:
            raise ValueError(
                f"`above` takes a threshold between each two of `targets`: {len(self.targets) - 1} for "
                f"{len(self.targets)}, found {len(self.above)}"
            )
        if self.default is not None and self.targets and self.default not in self.targets:
            raise ValueError(f"`default` has to be one of `targets`, found {self.default!r}")

    def objection(self, models: Sequence[str]) -> tuple[str, str] | None:
        """What is wrong with these options for an alias of *models*: the option's path, and a message."""
        for option, name in [
            *((f"targets[{i}]", one) for i, one in enumerate(self.targets)),
            ("default", self.default),
        ]:
            if name is not None and not {name, name.rpartition("@")[0]} & {*models}:
                return option, f"{name!r} is no model of this alias; there are: {', '.join(models)}"
        if self.above and len(self.above) != len(self.targets or models) - 1:
            wanted = len(self.targets or models) - 1
            return "above", f"takes a threshold between each two models: {wanted}, found {len(self.above)}"
        return None

    def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Choice:
        prompt = query.prompt()
        candidates = able(candidates, prompt)
        deployments = query.deployments or [one.deployment for one in candidates]
        targets = self.targets or tuple(dict.fromkeys(one.shared_name for one in deployments))
        tiers = {
            place: found for place, name in enumerate(targets) if (found := [c for c in candidates if _is(c, name)])
        }
        if not tiers:
            return Choice(candidates, "no target can be asked", equal=len(candidates))
        default = _nearest(tiers, len(targets) - 1 if self.default not in targets else targets.index(self.default))
        looks = difficulty(prompt)
        if not prompt.text:
            wanted, reason = default, "nothing to go by"
        elif self.learn:
            wanted, reason = self._learned(looks.cohort, tiers, default, query)
        else:
            wanted, reason = self._ruled(looks.score, len(targets)), f"score {looks.score:.2f}"
        # Whoever cannot answer is stood in for by the next stronger one, and only then by a weaker one.
        places = _outwards(tiers, wanted)
        order = [one for place in places for one in _soonest(tiers[place], query)]
        # Each once, also where two targets mean it; then who is no target.
        each = {one.deployment.name: one for one in (*order, *candidates)}
        cohort = looks.cohort if self.learn and prompt.text else None
        return Choice(tuple(each.values()), reason, cohort, equal=len(tiers[places[0]]))

    def _ruled(self, score: float, targets: int) -> int:
        return sum(score > threshold for threshold in self.above or _thresholds(targets))

    def _learned(
        self, cohort: str, tiers: Mapping[int, Sequence[Candidate]], default: int, query: RouteQuery
    ) -> tuple[int, str]:
        draws = _draws(query.chance)
        names = {place: tier[0].deployment.shared_name for place, tier in tiers.items()}
        own: dict[int, Tally] = {place: query.tallies(name, cohort) for place, name in names.items()}
        unknown = [place for place, tally in own.items() if tally.seen < self.known]
        if unknown and draws[0] < self.explore:
            tried = unknown[int(draws[1] * len(unknown))]
            return tried, f"trying {names[tried]} for '{cohort}'"
        if default in unknown:
            return default, f"too little is known of '{cohort}'"
        rates = {
            place: drawn(own[place], query.tallies(names[place], ALL), draws[2 + place % (DRAWS - 2)], self.prior_mass)
            for place in tiers
            if place not in unknown
        }
        enough = max(min(self.good_enough, max(rates.values())), rates[default])
        wanted = next(place for place, rate in rates.items() if rate >= enough - self.margin)
        return wanted, f"'{cohort}': {', '.join(f'{names[place]} {rate:.2f}' for place, rate in rates.items())}"


def _is(candidate: Candidate, target: str) -> bool:
    return target in (candidate.deployment.shared_name, candidate.deployment.name)


def _thresholds(targets: int) -> list[float]:
    """0.5 for two, 0.3 and 0.7 for three, 0.3, 0.5 and 0.7 for four."""
    if targets < 3:
        return [(LOWEST + HIGHEST) / 2] * (targets - 1)
    return [LOWEST + (HIGHEST - LOWEST) * step / (targets - 2) for step in range(targets - 1)]


def _outwards(tiers: Mapping[int, object], wanted: int) -> list[int]:
    return sorted(tiers, key=lambda place: (place < wanted, abs(place - wanted)))


def _nearest(tiers: Mapping[int, object], wanted: int) -> int:
    return _outwards(tiers, wanted)[0]


def _soonest(tier: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
    """Of one model's deployments the one that answers soonest first; those of which nothing is known before them."""
    if len(tier) == 1:
        return tier
    return sorted(tier, key=lambda one: (one.first_token_s(query) or 0.0, one.standing.in_flight))


def _draws(chance: float) -> list[float]:
    """Independent numbers from 0 to 1, the same for the same *chance*."""
    bits = blake2b(struct.pack("<d", chance), digest_size=4 * DRAWS).digest()
    return [number / 2**32 for number in struct.unpack(f"<{DRAWS}I", bits)]
