"""Who is left out after failures is asked, by probes and not by callers, whether it is there.

One that nobody could reach is back when a probe is answered; that one request at a time tries it then is
`core.ejection`'s. Engines of this board are not asked: their supervisor knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Final

from moltbot_edge.core.catalog import Catalog, Deployment, Upstream
from moltbot_edge.core.ejection import Out
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.upstream.health import Found

AT_ONCE: Final = 8  # probes: a switch that lost its power takes a whole rack with it
SOONEST: Final = 0.1  # of the time between two, for the first; then twice as long, up to all of it
DOUBTED_S: Final = 300.0  # who says no or nothing for so long may never say anything else to a probe
JITTER: Final = 0.2  # of that time less: machines that went together shall not be asked together

Place = tuple[str, str, str | None]


class Watch:
    """While entered, each machine of *catalog* that fails is asked every *every_s* until it answers.

    With *silent_s*, each one that no caller was answered by for so long is asked as well. *probe* asks, *now* is
    `time.monotonic`, *chance* gives a number in [0, 1).
    """

    def __init__(
        self,
        catalog: Catalog,
        probe: Callable[[Upstream], Awaitable[Found]],
        metrics: Metrics,
        *,
        every_s: float,
        silent_s: float | None,
        now: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.standings = Standings(self._out, probed=True)
        self._probe = probe
        self._metrics = metrics
        self._every_s = every_s
        self._silent_s = silent_s
        self._now = now
        self._chance = chance
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[Place, asyncio.Task[None]] = {}
        self._deployments: dict[Place, dict[str, Deployment]] = {}
        for route in catalog.routes.values():
            for one in route.deployments:
                if one.upstream.model_file is None:
                    self._deployments.setdefault(_place(one.upstream), {})[one.name] = one
        self._silence: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        if self._silent_s is not None:
            self._silence = asyncio.get_running_loop().create_task(self._ask_the_silent(self._silent_s))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [*self._tasks.values(), *([] if self._silence is None else [self._silence])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _out(self, deployment: Deployment, why: Out) -> None:
        """Some deployment is left out from now on, or its trial has failed."""
        self._metrics.ejections.cell(deployment.name, why).add()
        place = _place(deployment.upstream)
        if why is Out.ASKED or deployment.upstream.model_file is not None:
            return
        self._deployments.setdefault(place, {})[deployment.name] = (
            deployment  # one that was found since, or known better
        )
        if place not in self._tasks:
            self._tasks[place] = asyncio.get_running_loop().create_task(self._until_it_answers(place))

    async def _until_it_answers(self, place: Place) -> None:
        try:
            every_s = self._every_s * SOONEST
            await asyncio.sleep(every_s * self._chance())
            doubted_at = self._now() + DOUBTED_S
            while True:
                began = self._now()
                found = await self._ask(place)
                if found is not Found.UNREACHABLE and began >= doubted_at:
                    self._believed(place)
                    return
                if found is Found.UP:
                    return
                pause_s = every_s * (1.0 - JITTER * self._chance())
                every_s = min(every_s * 2.0, self._every_s)
                await asyncio.sleep(max(began + pause_s - self._now(), 0.0))
        finally:
            self._tasks.pop(place, None)

    async def _ask(self, place: Place) -> Found:
        """And tell the standings."""
        several = self._deployments[place]
        upstream = next(iter(several.values())).upstream
        async with self._slots:
            found = await self._probe(upstream)
        self._metrics.probes.cell(upstream.name, found).add()
        if found is Found.UP:
            self._believed(place)
            return found
        for one in several.values():
            health = self.standings.of(one.name).health
            if found is Found.UNREACHABLE or health.out is not None:
                # What is slow to say how it is may still answer callers, so only who has failed them is left out.
                self.standings.lost(one, self._now())
        return found

    def _believed(self, place: Place) -> None:
        """To be there: a caller's request may try it."""
        for one in self._deployments[place].values():
            self.standings.found(one)

    async def _ask_the_silent(self, silent_s: float) -> None:
        """One after another: there is no hurry, and an answer costs a board something after all."""
        while True:
            await asyncio.sleep(silent_s * (1.0 - JITTER * self._chance()))
            for place in list(self._silent(silent_s)):
                if await self._ask(place) is not Found.UP and place not in self._tasks:
                    self._tasks[place] = asyncio.get_running_loop().create_task(self._until_it_answers(place))

    def _silent(self, silent_s: float) -> Iterator[Place]:
        before = self._now() - silent_s
        for place, several in self._deployments.items():
            standings = [self.standings.of(name) for name in several]
            if place not in self._tasks and not any(
                one.in_flight or (one.last_seen is not None and one.last_seen > before) for one in standings
            ):
                yield place


def _place(upstream: Upstream) -> Place:
    return upstream.name, upstream.scheme, upstream.ca_file
