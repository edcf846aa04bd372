"""One run: requests come, are routed by a policy, are answered, and teach the gateway's own scoreboard."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence

from moltbot_edge.api import Candidate, Choice, Deployment, Outcome, Policy, RouteQuery, Upstream, Usage
from moltbot_edge.core import prefixes, routing
from moltbot_edge.core.speed import Sent
from moltbot_edge.gateway.standings import Standings

from .fleets import Fleet


def power_of_two(candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
    """Two at random, and of them the one with fewer requests in flight. For comparison."""
    count = len(candidates)
    pair = int(query.chance * count * (count - 1))
    one, other = pair // (count - 1), pair % (count - 1)
    two = [candidates[one], candidates[other + (other >= one)]]
    two.sort(key=lambda candidate: candidate.standing.in_flight)
    return [*two, *(candidate for candidate in candidates if candidate not in two)]


def first_token_times(fleet: Fleet, policy: Policy, seed: int) -> list[float]:
    """Seconds from each request to its first token, in the requests' order."""
    chance = random.Random(f"{seed} requests")
    jobs = fleet.jobs(chance, fleet.every_s)
    machines = {machine.name: machine for machine in fleet.machines(random.Random(f"{seed} machines"))}
    noise = random.Random(f"{seed} noise")
    draws = random.Random(f"{seed} draws")
    deployments = [Deployment(name, Upstream(f"{name}:80", "http", name, 80, "/v1"), "model") for name in machines]
    standings = Standings()
    under_way: list[tuple[float, int, Deployment, Sent, Outcome]] = []
    times = []
    for turn, job in enumerate(jobs):
        now = job.at
        while under_way and under_way[0][0] <= now:
            end, _, deployment, sent, outcome = heapq.heappop(under_way)
            standings.ended(deployment, sent, outcome, end)
        marks = prefixes.marks(job.body)
        candidates = standings.candidates(deployments, len(job.body), marks)
        tokens = int(candidates[0].prompt_tokens or 0)
        query = RouteQuery("chat", tokens, None, turn, draws.random(), body=job.body, now=now)
        said = policy(routing.eligible(candidates, query), query)
        deployment = (said.order if isinstance(said, Choice) else said)[0].deployment
        sent = standings.started(deployment, len(job.body), marks, now)
        done = machines[deployment.name].answer(job, noise)
        times.append(done.first_token - now)
        outcome = Outcome(
            deployment.name,
            200,
            done.end - now,
            done.first_token - now,
            usage=Usage(job.prompt_tokens, job.output_tokens, done.cached_tokens),
            streamed=True,
        )
        heapq.heappush(under_way, (done.end, turn, deployment, sent, outcome))
    return times
