"""Outcomes folded into what is known of a deployment. A value: `gateway.standings` holds the only copies that change.

*now* is `time.monotonic` seconds throughout.
"""

from __future__ import annotations

import math

import msgspec

from moltbot_edge.core.ejection import WELL, Health
from moltbot_edge.core.events import Outcome
from moltbot_edge.core.speed import Sent, Speed

HUNG_S = 10.0  # without a byte, after which a caller that leaves says something of the box,
HUNG = 3.0  # where it is also so many times what the whole reply should have taken
JUDGED = 0.3  # the share of the last outcome in the error rate: three failures in a row make it two thirds
LEAST_SUCCESS = 0.02  # who always fails is a last resort and not an impossible one
FORGET_S = 60.0  # an error rate falls to a third in so long, so that who has failed is tried again

# Rates hold for minutes. On a fast upstream thousands of outcomes a second would teach them no better, and learning
# costs as much as all other bookkeeping of a request.
SCHOOL_DAYS = 32  # outcomes learned from without a pause
LESSON_EVERY_S = 0.25
SURPRISE = 1.5  # an answer that took so many times what was expected is a lesson at once


class Standing(msgspec.Struct, frozen=True):
    """What is known of one deployment right now.

    *owed_s* is the expected work of all requests in flight, and *since* when the first of them came to its turn.
    *failing* is the error rate as of *judged_at*, the last outcome. *cooling_until* is the health's own, kept here
    because every decision reads it.
    """

    in_flight: int = 0
    answered: int = 0
    failed: int = 0
    cooling_until: float = 0.0
    last_seen: float | None = None
    owed_s: float = 0.0
    since: float = 0.0
    failing: float = 0.0
    judged_at: float = 0.0
    speed: Speed = Speed()
    health: Health = WELL

    def queue_s(self, now: float) -> float:
        """The work ahead of a new request, as if done one after another.

        One that takes longer than expected is expected to take as long again as it is late: that is how a machine
        that hangs shows before it answers.
        """
        if not self.in_flight:
            return 0.0
        one_s = self.owed_s / self.in_flight
        ran_s = now - self.since
        return self.owed_s - ran_s if ran_s < one_s else self.owed_s - one_s + (ran_s - one_s)

    def wait_s(self, now: float) -> float:
        """How much of that a new request will wait for."""
        return self.queue_s(now) * self.speed.crowding if self.in_flight else 0.0

    def success(self, now: float) -> float:
        """The share of requests that it answers, up to 1, and 1 while nothing else is known. Never 0."""
        if not self.failing:
            return 1.0
        return max(1.0 - self.failing * math.exp((self.judged_at - now) / FORGET_S), LEAST_SUCCESS)

    def started(self, sent: Sent, now: float) -> Standing:
        health, cooling_until = self.health, self.cooling_until
        if sent.tried:
            health = health.tried()
            cooling_until = health.cooling_until
        return Standing(
            self.in_flight + 1,
            self.answered,
            self.failed,
            cooling_until,
            self.last_seen,
            self.owed_s + sent.work_s,
            self.since if self.in_flight else now,
            self.failing,
            self.judged_at,
            self.speed,
            health,
        )

    def left(self, sent: Sent, now: float, silent_s: float = 0.0, *, probed: bool = False) -> Standing:
        """The caller went away after *silent_s* without a byte: nothing was learned, unless that is far too long.

        Callers are less patient than timeouts, and a box that hangs would be asked by each of them.
        """
        if silent_s >= HUNG_S and silent_s >= HUNG * ((sent.first_token_s or 0.0) + sent.work_s):
            return self._failed(sent, None, True, probed, now)
        health, cooling_until = self.health, self.cooling_until
        if sent.tried:
            health = health.undecided()
            cooling_until = health.cooling_until
        return Standing(
            self.in_flight - 1,
            self.answered,
            self.failed,
            cooling_until,
            self.last_seen,
            self._owed_without(sent),
            now,
            self.failing,
            self.judged_at,
            self.speed,
            health,
        )

    def answering(self, sent: Sent, now: float) -> Standing:
        """The first of a reply to a request that was *tried*: others need not wait for the rest of it."""
        return self.with_health(self.health.answered(sent.tried, now))

    def ended(self, sent: Sent, outcome: Outcome, now: float, *, probed: bool = False) -> Standing:
        """*probed*: where it is silent, probes will find out when it is back."""
        if outcome.error is not None:
            return self._failed(sent, outcome.retry_after_s, outcome.silent, probed, now)
        health, cooling_until = self.health, self.cooling_until
        if health.failures or health.out is not None:
            health = health.answered(sent.tried, now)
            cooling_until = health.cooling_until
        return Standing(
            self.in_flight - 1,
            self.answered + 1,
            self.failed,
            cooling_until,
            now,
            self._owed_without(sent),
            now,
            (1.0 - self.success(now)) * (1.0 - JUDGED) if self.failing else 0.0,
            now,
            self.speed.learned(sent, outcome, now) if self._teaches(sent, outcome, now) else self.speed,
            health,
        )

    def found(self) -> Standing:
        """By a probe, after it could not be reached: its failures were those of a machine that was not there."""
        return msgspec.structs.replace(self.with_health(self.health.found()), failing=0.0)

    def with_health(self, health: Health) -> Standing:
        return msgspec.structs.replace(self, health=health, cooling_until=health.cooling_until)

    def _failed(self, sent: Sent, pause_s: float | None, silent: bool, probed: bool, now: float) -> Standing:
        health = self.health.failed(sent.tried, silent, pause_s, probed, now)
        return Standing(
            self.in_flight - 1,
            self.answered,
            self.failed + 1,
            health.cooling_until,
            self.last_seen,
            self._owed_without(sent),
            now,
            (1.0 - self.success(now)) * (1.0 - JUDGED) + JUDGED,
            now,
            self.speed,
            health,
        )

    def _owed_without(self, sent: Sent) -> float:
        return max(self.owed_s - sent.work_s, 0.0) if self.in_flight > 1 else 0.0

    def _teaches(self, sent: Sent, outcome: Outcome, now: float) -> bool:
        first_byte_s = outcome.first_byte_s
        if first_byte_s is None:
            return False
        speed = self.speed
        return (
            speed.lessons < SCHOOL_DAYS
            or now - speed.learned_at >= LESSON_EVERY_S
            or (outcome.streamed and first_byte_s > SURPRISE * (sent.first_token_s or 0.0))
        )
