"""Two machines asked for the same request: the second where the first is late, and the first byte decides.

Never two deployments of one machine: they would share what makes the first one slow. The loser is cancelled, which
closes its connection, so that its upstream stops. When to ask is `core.hedging`'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from msgspec.structs import replace

from moltbot_edge.core.catalog import Deployment, Upstream
from moltbot_edge.core.errors import GatewayError
from moltbot_edge.core.hedging import RECENT, Expected, late_by, wait_s
from moltbot_edge.core.routing import Candidate, RouteQuery
from moltbot_edge.gateway.allowance import Allowance
from moltbot_edge.gateway.asked import Asked
from moltbot_edge.gateway.attempt import Attempts
from moltbot_edge.gateway.output import Output
from moltbot_edge.gateway.plan import Planner
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.network.lan import THIS_BOARD, machine
from moltbot_edge.upstream.pool import Place


class Hedging:
    """*after_s* is of `core.hedging.wait_s`. *allowance* is of extra requests, *now* is `time.monotonic`."""

    def __init__(
        self,
        after_s: float,
        allowance: Allowance,
        attempts: Attempts,
        planner: Planner,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        self.allowance = allowance
        self._after_s = after_s
        self._attempts = attempts
        self._planner = planner
        self._metrics = metrics
        self._now = now
        self._places: dict[str, str] = {}  # by upstream: what an address means takes longer to read than to know
        self._ratios: dict[tuple[str, bool], deque[float]] = {}  # measured over predicted, by deployment and streamed

    def other(self, first: Deployment, rest: Sequence[Deployment]) -> Deployment | None:
        """The next of *rest* that is on another machine, and that has room where one of them has."""
        here = self._place(first.upstream)
        elsewhere = [one for one in rest if self._place(one.upstream) != here]
        full = elsewhere[0] if elsewhere else None
        return next((one for one in elsewhere if self._attempts.lines.room(one)), full)

    def _place(self, upstream: Upstream) -> str:
        place = self._places.get(upstream.name)
        if place is None:
            self._places[upstream.name] = place = place_of(upstream)
        return place

    async def ask(
        self,
        asked: Asked,
        first: Deployment,
        other: Deployment,
        rest: list[Deployment],
        output: Output,
        place: Place | None,
    ) -> None:
        """As `Attempts.ask` of *first*, and perhaps of *other*, which is taken out of *rest* then.

        Raises what the last of them to fail raises.
        """
        began = self._now()
        expected, late_s = self._expected(asked, first, other, began)
        race = _Race()

        def note() -> None:
            if expected is not None:
                ratios = self._ratios.setdefault((first.name, asked.request.head.stream), deque(maxlen=RECENT))
                ratios.append((self._now() - began) / max(expected.first_byte_s, 1e-3))

        runners = [race.enter(self._attempts.ask, note, asked, first, output, place)]
        try:
            await asyncio.wait([runners[0].task], timeout=late_s)
            if not runners[0].task.done() and race.winner is None and self._may(asked, other):
                rest.remove(other)
                again = asked.planned(replace(asked.plan, reason=b"hedged"))
                runners.append(race.enter(self._attempts.ask, None, again, other, output, None))
            await _answered(race, output)
        finally:
            if len(runners) > 1:
                outcome = "failed" if race.winner is None else "won" if race.winner is runners[1] else "lost"
                self._metrics.hedges.cell(asked.route.alias, outcome).add()
            for runner in runners:
                runner.lost = runner.lost or runner is not (race.winner or runners[0])  # who leaves both is one caller
                runner.task.cancel()
            await asyncio.gather(*(runner.task for runner in runners), return_exceptions=True)

    def _may(self, asked: Asked, other: Deployment) -> bool:
        """There is room, and an allowance: what hedges must never be what makes it late."""
        alias = asked.route.alias
        if not self._attempts.lines.room(other):
            self._metrics.hedges.cell(alias, "no-room").add()
            return False
        if not self.allowance.spend():
            self._metrics.hedges.cell(alias, "over-budget").add()
            return False
        self._metrics.hedges.cell(alias, "started").add()
        self._metrics.decisions.cell(alias, asked.route.policy, "hedge").add()
        return True

    def _expected(
        self, asked: Asked, first: Deployment, other: Deployment, now: float
    ) -> tuple[Expected | None, float]:
        """Of *first*, and when the other is to be asked."""
        one, another = self._planner.candidates((first, other), asked.request, asked.marks)
        query = RouteQuery(asked.route.alias, now=now)
        streamed = asked.request.head.stream
        expected = _expected(one, query, streamed)
        late = late_by(self._ratios.get((first.name, streamed), ()))
        return expected, wait_s(self._after_s, expected, _expected(another, query, streamed), late)


def place_of(upstream: Upstream) -> str:
    return THIS_BOARD if upstream.model_file is not None else machine(upstream.host)


def _expected(candidate: Candidate, query: RouteQuery, streamed: bool) -> Expected | None:
    first_s = candidate.first_token_s(query)
    if first_s is None:
        return None
    return Expected(first_s, first_s if streamed else first_s + candidate.standing.speed.reply_s)


async def _answered(race: _Race, output: Output) -> None:
    """Once one of them has answered. Raises what the last one to fail raised, or the one that the caller heard."""
    running = {runner.task for runner in race.runners}
    while running:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.cancelled() or (race.winner is not None and race.winner.task is not task):
                continue  # the other answers
            error = task.exception()
            if error is None:
                return
            if output.answering or not running or not (isinstance(error, GatewayError) and error.retryable):
                raise error


class _Race:
    def __init__(self) -> None:
        self.winner: _Runner | None = None
        self.runners: list[_Runner] = []

    def enter(
        self, ask: Callable[..., Coroutine[Any, Any, None]], note: Callable[[], None] | None, *what: object
    ) -> _Runner:
        runner = _Runner(self, note)
        self.runners.append(runner)
        runner.task = asyncio.get_running_loop().create_task(ask(*what, runner))
        return runner


class _Runner:
    """A `gateway.asked.Contender`. *note* is called when its first byte comes, or another's was there before."""

    task: asyncio.Task[None]

    def __init__(self, race: _Race, note: Callable[[], None] | None) -> None:
        self.lost = False
        self._race = race
        self._note = note

    def claim(self) -> bool:
        race = self._race
        if race.winner is None:
            race.winner = self
            for runner in race.runners:
                if runner._note is not None:
                    runner._note()  # of one that lost: it took at least so long
                if runner is not self:
                    runner.lost = True
                    runner.task.cancel()
        return race.winner is self
