"""What became of requests that look alike, as counts: how often a model answered well, and how sure that is.

A tally is a Beta distribution's two counts beside a prior: a cohort's own few answers are weighed against all that is
known of the model. Old counts fade, as models and askers change. Pure: the gateway keeps the tallies.

Source: Thompson sampling over Beta counts, with the shape of LiteLLM's complexity router. Its prior mass, 20, stands
beside counts from a large data set. Here the prior is the model's own rate so far, and with 20 a model that is right
in one cohort and wrong in another took thousands of answers to show it; 5 lost nothing on graded questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec

PRIOR_MASS: Final = 5.0  # answers that what is known in general counts for, beside a cohort's own
KEPT_A_DAY: Final = 0.99  # of a count: half of it is gone after ten weeks
DAY_S: Final = 86_400.0
ALL: Final = ""  # the cohort of everything that a model was asked
FURTHEST: Final = 1e-6  # from 0 and 1, beyond which a draw has no end
LOGISTIC: Final = 1.702  # a logistic distribution as wide as the normal one, within 0.01 of it everywhere


class Tally(msgspec.Struct, frozen=True):
    """Answers that were good and bad, in weights of one; as they were at *at*, in seconds since 1970."""

    good: float = 0.0
    bad: float = 0.0
    at: float = 0.0

    @property
    def seen(self) -> float:
        return self.good + self.bad

    def faded(self, now: float) -> Tally:
        kept = KEPT_A_DAY ** (max(0.0, now - self.at) / DAY_S)
        # A board without a clock of its own starts years ago: what is counted until it is told is not that old.
        return Tally(self.good * kept, self.bad * kept, max(self.at, now))

    def after(self, good: float, bad: float, now: float) -> Tally:
        """Negative weights take back what was counted before."""
        faded = self.faded(now)
        return Tally(max(0.0, faded.good + good), max(0.0, faded.bad + bad), faded.at)


Tallies = Callable[[str, str], Tally]
"""Of a model and a cohort, faded to now. The cohort `ALL` is everything that the model was asked."""


def nothing(model: str, cohort: str) -> Tally:
    return Tally()


def expected(own: Tally, overall: Tally, prior_mass: float = PRIOR_MASS) -> float:
    """The chance of a good answer: the cohort's own counts beside the model's overall rate, as *prior_mass* answers."""
    good, bad = _beta(own, overall, prior_mass)
    return good / (good + bad)


def drawn(own: Tally, overall: Tally, chance: float, prior_mass: float = PRIOR_MASS) -> float:
    """What that chance may well be: *chance*, from 0 to 1, is the place in what is possible.

    Thompson's way to try what is not sure yet, and no more often than that. A logistic distribution of the same mean
    and width stands for Beta's: they differ by less than the counts are worth.
    """
    good, bad = _beta(own, overall, prior_mass)
    mass = good + bad
    mean = good / mass
    spread = math.sqrt(mean * (1 - mean) / (mass + 1))
    chance = min(max(chance, FURTHEST), 1 - FURTHEST)
    place = math.log(chance / (1 - chance)) / LOGISTIC
    return min(1.0, max(0.0, mean + spread * place))


def _beta(own: Tally, overall: Tally, prior_mass: float) -> tuple[float, float]:
    rate = (overall.good + 1) / (overall.seen + 2)
    return own.good + prior_mass * rate, own.bad + prior_mass * (1 - rate)
