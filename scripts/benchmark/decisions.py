"""What a decision of the router costs: processor time by policy and number of deployments. Imports the gateway.

The steps are those of `gateway.exchange`, from the standings to the order; no sockets, so no core of its own is needed.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence

from moltbot_edge.api import Choice, Deployment, Outcome, Policy, RouteQuery, Upstream, Usage
from moltbot_edge.core import routing
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.kernel.registry import BUILTINS, Registry

COUNTS = (2, 10, 100, 1_000)
LESSONS = 8  # answers that each deployment has given before
ROUNDS, ROUND_S = 5, 0.05
BODY_BYTES = 150  # as the benchmark's requests


class Fleet:
    """So many deployments of one name, each with something learned of it."""

    def __init__(self, count: int) -> None:
        chance = random.Random(count)
        self.standings = Standings()
        self.deployments = [
            Deployment(f"chat@box{i}:80", Upstream(f"box{i}:80", "http", f"box{i}", 80, "/v1"), "model")
            for i in range(count)
        ]
        for deployment in self.deployments:
            first_s = chance.uniform(0.1, 3.0)
            for lesson in range(LESSONS):
                sent = self.standings.started(deployment, BODY_BYTES, (), float(lesson))
                outcome = Outcome(deployment.name, 200, 2 * first_s, first_s, usage=Usage(40, 80), streamed=True)
                self.standings.ended(deployment, sent, outcome, float(lesson))

    def decide(self, policy: Policy, turn: int, chance: float) -> Sequence[Deployment]:
        candidates = self.standings.candidates(self.deployments, BODY_BYTES, ())
        query = RouteQuery("chat", int(candidates[0].prompt_tokens or 0), None, turn, chance, now=10.0)
        said = policy(routing.eligible(candidates, query), query)
        return [candidate.deployment for candidate in (said.order if isinstance(said, Choice) else said)]


def table() -> str:
    """Microseconds of one decision, the median of some rounds."""
    fleets = [Fleet(count) for count in COUNTS]
    registry = Registry()
    heads = [f"{count:,} deployments" for count in COUNTS]
    lines = ["| CPU us per decision | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for name in sorted(BUILTINS["policy"]):
        policy = registry.build("policy", name)
        cells = [f"{1e6 * _seconds(fleet, policy):,.3g}" for fleet in fleets]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _seconds(fleet: Fleet, policy: Policy) -> float:
    chance = random.Random(1)
    rounds = []
    for _ in range(ROUNDS):
        done = 0
        began = now = time.process_time()
        while now - began < ROUND_S:
            for _ in range(10):
                fleet.decide(policy, done, chance.random())
                done += 1
            now = time.process_time()
        rounds.append((now - began) / done)
    return statistics.median(rounds)
