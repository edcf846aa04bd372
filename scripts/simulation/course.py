"""One run: requests come, are routed by a policy, are answered, and teach the gateway's own scoreboard.

With hedging, a second machine is asked as `gateway.hedging` does it. A loser's work is saved only where no other
request waits behind it: a machine here plans a request as it comes. Where conversations are kept, the router knows who
answered last, as `gateway.plan` does.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moltbot_edge.api import Candidate, Choice, Deployment, Outcome, Policy, RouteQuery, Upstream, Usage
from moltbot_edge.core import prefixes, routing
from moltbot_edge.core.budget import Budget, Terms
from moltbot_edge.core.hedging import RECENT, Expected, late_by, wait_s
from moltbot_edge.core.speed import Sent
from moltbot_edge.core.staying import settled
from moltbot_edge.gateway.standings import Standings

from .fleets import Fleet
from .machine import Done, Job

HEDGE_AFTER_S = 2.0
HEDGES = Terms(share=0.05, per_s=0.0, most=5.0)


def power_of_two(candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
    """Two at random, and of them the one with fewer requests in flight. For comparison."""
    count = len(candidates)
    pair = int(query.chance * count * (count - 1))
    one, other = pair // (count - 1), pair % (count - 1)
    two = [candidates[one], candidates[other + (other >= one)]]
    two.sort(key=lambda candidate: candidate.standing.in_flight)
    return [*two, *(candidate for candidate in candidates if candidate not in two)]


def first_token_times(
    fleet: Fleet, policy: Policy, seed: int, *, hedged: bool = False, kept: bool = False
) -> list[float]:
    """Seconds from each request to its first token, in the requests' order. *kept*: conversations are."""
    course = Course(fleet, policy, seed, hedged=hedged, kept=kept)
    for turn, job in enumerate(fleet.jobs(random.Random(f"{seed} requests"), fleet.every_s)):
        course.until(job.at)
        course.request(turn, job)
    course.until(float("inf"))
    return [time for _, time in sorted(course.times.items())]


@dataclass(frozen=True)
class Asked:
    deployment: Deployment
    sent: Sent
    at: float
    done: Done


class Course:
    """*times* are of the first tokens, by the requests' numbers."""

    def __init__(self, fleet: Fleet, policy: Policy, seed: int, *, hedged: bool, kept: bool) -> None:
        self.times: dict[int, float] = {}
        self._policy = policy
        self._hedged = hedged
        self._kept = kept
        self._last: dict[int, str] = {}  # who answered, by conversation
        self._noise = random.Random(f"{seed} noise")
        self._draws = random.Random(f"{seed} draws")
        self._machines = {machine.name: machine for machine in fleet.machines(random.Random(f"{seed} machines"))}
        self._deployments = [
            Deployment(name, Upstream(f"{name}:80", "http", name, 80, "/v1"), "model") for name in self._machines
        ]
        self._standings = Standings()
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._events = 0
        self._requests = 0
        self._budget = Budget(HEDGES.most)
        self._ratios: dict[str, deque[float]] = {}

    def until(self, now: float) -> None:
        while self._coming and self._coming[0][0] <= now:
            heapq.heappop(self._coming)[2]()

    def request(self, turn: int, job: Job) -> None:
        now = job.at
        self._requests += 1
        marks = prefixes.marks(job.body)
        candidates = self._standings.candidates(self._deployments, len(job.body), marks)
        tokens = int(candidates[0].prompt_tokens or 0)
        stays = None if job.conversation is None else self._last.get(job.conversation)
        query = RouteQuery("chat", tokens, None, turn, self._draws.random(), body=job.body, now=now, stays=stays)
        ready = routing.eligible(candidates, query)
        said = self._policy(ready, query)
        choice = said if isinstance(said, Choice) else Choice(said)
        order = (choice if stays is None else settled(choice, ready, query)).order
        first = self._ask(order[0].deployment, job, now, marks)
        if self._hedged and len(order) > 1:
            expected, others = (_expected(one, query) for one in order[:2])
            wait = wait_s(HEDGE_AFTER_S, expected, others, late_by(self._ratios.get(first.deployment.name, ())))
            if first.done.first_token > now + wait:
                other = order[1].deployment
                self._at(now + wait, lambda: self._hedge(turn, job, first, expected, other, now + wait, marks))
                return
            self._at(first.done.end, lambda: self._note(first, expected, first.done.first_token))
        self._answered(turn, job, first)

    def _hedge(
        self,
        turn: int,
        job: Job,
        first: Asked,
        expected: Expected | None,
        other: Deployment,
        now: float,
        marks: Sequence[int],
    ) -> None:
        budget = self._budget.spent(HEDGES, self._requests, now)
        if budget is None:
            self._at(first.done.end, lambda: self._note(first, expected, first.done.first_token))
            self._answered(turn, job, first)
            return
        self._budget = budget
        second = self._ask(other, job, now, marks)
        winner, loser = (first, second) if first.done.first_token <= second.done.first_token else (second, first)
        decided = winner.done.first_token

        def lost() -> None:
            self._machines[loser.deployment.name].cancel(loser.done, decided)
            self._standings.left(loser.deployment, loser.sent, decided, decided - loser.at)
            self._note(first, expected, decided)

        self._at(decided, lost)
        self._answered(turn, job, winner)

    def _ask(self, deployment: Deployment, job: Job, now: float, marks: Sequence[int]) -> Asked:
        sent = self._standings.started(deployment, len(job.body), marks, now)
        return Asked(deployment, sent, now, self._machines[deployment.name].answer(job, self._noise, now))

    def _answered(self, turn: int, job: Job, asked: Asked) -> None:
        done, deployment = asked.done, asked.deployment
        self.times[turn] = done.first_token - job.at
        if self._kept and job.conversation is not None:
            self._last[job.conversation] = deployment.name
        outcome = Outcome(
            deployment.name,
            200,
            done.end - asked.at,
            done.first_token - asked.at,
            usage=Usage(job.prompt_tokens, job.output_tokens, done.cached_tokens),
            streamed=True,
        )
        self._at(done.end, lambda: self._standings.ended(deployment, asked.sent, outcome, done.end))

    def _note(self, first: Asked, expected: Expected | None, first_token: float) -> None:
        if expected is not None:
            ratios = self._ratios.setdefault(first.deployment.name, deque(maxlen=RECENT))
            ratios.append((first_token - first.at) / expected.first_byte_s)

    def _at(self, time: float, what: Callable[[], None]) -> None:
        self._events += 1
        heapq.heappush(self._coming, (time, self._events, what))


def _expected(candidate: Candidate, query: RouteQuery) -> Expected | None:
    seconds = candidate.first_token_s(query)
    return None if seconds is None else Expected(seconds, seconds)
