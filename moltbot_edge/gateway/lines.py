"""Who has room for a request, and who has it first. The lines themselves are the pools'."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.errors import Overloaded
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.upstream.chat import Upstreams
from moltbot_edge.upstream.pool import Place

UNKNOWN_S = 2.0  # what a reply takes where nobody knows
SOONEST_S, LATEST_S = 1.0, 300.0  # after which a caller is told to come back


class Lines:
    def __init__(self, upstreams: Upstreams, standings: Standings, metrics: Metrics) -> None:
        self._upstreams = upstreams
        self._standings = standings
        self._metrics = metrics

    def room(self, deployment: Deployment) -> bool:
        """Whether a request can be sent there at once. An engine of this board has a line of its own."""
        upstream = deployment.upstream
        return upstream.model_file is not None or self._upstreams.room(upstream)

    def wait_s(self, deployments: Sequence[Deployment]) -> float:
        """Until one of them will have room, as far as is known: when a caller may come back."""
        waits_s = []
        for one in deployments:
            speed = self._standings.of(one.name).speed
            waiting, at_once = self._upstreams.ahead(one.upstream)
            one_s = speed.reading.base + speed.reply_s if speed.known else UNKNOWN_S
            waits_s.append((waiting + 1) * one_s / at_once)
        return min(max(min(waits_s, default=UNKNOWN_S), SOONEST_S), LATEST_S)

    async def place(self, deployments: Sequence[Deployment]) -> tuple[Deployment, Place]:
        """Where none of *deployments* has room: wait for the first that has.

        Raises `Overloaded`, which says when the line will be shorter.
        """
        try:
            number, place = await self._upstreams.in_line([one.upstream for one in deployments])
        except Overloaded as error:
            error.retry_after_s = self.wait_s(deployments)
            raise
        except asyncio.CancelledError:
            self._metrics.callers_gone.cell("waiting").add()
            raise
        return deployments[number], place
