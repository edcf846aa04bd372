"""A request on its way through the deployments of a plan: one after another, two at once where one is late.

A deployment that is full is passed over while another has room. Each one asked after a failure costs something of an
allowance: when everything fails, asking again helps nobody. Once all have failed, and a moment may change that, they
are asked again after a pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.errors import GatewayError, Overloaded
from moltbot_edge.core.fallback import says_too_long
from moltbot_edge.core.retries import pause_s
from moltbot_edge.gateway.allowance import Allowance
from moltbot_edge.gateway.asked import Asked
from moltbot_edge.gateway.attempt import Attempts
from moltbot_edge.gateway.output import Output
from moltbot_edge.gateway.plan import Planner
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.upstream.pool import Place

if TYPE_CHECKING:  # imported where the configuration wants it
    from moltbot_edge.gateway.hedging import Hedging


class Rounds:
    """*retries* allows asking again, *hedging* None asks nobody twice at once. A request is asked again for
    *patience_s*.

    *now* is `time.monotonic`, *chance* gives a number in [0, 1).
    """

    def __init__(
        self,
        planner: Planner,
        attempts: Attempts,
        retries: Allowance,
        hedging: Hedging | None,
        metrics: Metrics,
        *,
        patience_s: float,
        now: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.retries = retries
        self.hedging = hedging
        self._planner = planner
        self._attempts = attempts
        self._metrics = metrics
        self._patience_s = patience_s
        self._now = now
        self._chance = chance

    async def ask(self, asked: Asked, output: Output, began: float, *, patient: bool = True) -> None:
        """Until one has answered, to *output*. Raises what the last one raised.

        *patient*: nothing else can be asked, so the same are, once all have failed and a moment may change that.
        """
        hedging, tried = self.hedging, 0
        patience_s = self._patience_s if patient else 0.0
        self.retries.requests += 1
        if hedging is not None:
            hedging.allowance.requests += 1
        plan, alias, policy = asked.plan, asked.route.alias, asked.route.policy
        rest = list(plan.order[: asked.route.attempts])
        why = plan.why
        while True:
            deployment, place = rest.pop(0), None
            if rest and not self._attempts.lines.room(deployment):
                deployment, place = await self._with_room(deployment, rest)
                why = "room"
            if plan.why is not None and why is not None:
                self._metrics.decisions.cell(alias, policy, why).add()
            try:
                other = hedging.other(deployment, rest) if hedging is not None and rest else None
                if hedging is None or other is None:
                    await self._attempts.ask(asked, deployment, output, place)
                else:
                    await hedging.ask(asked, deployment, other, rest, output, place)
                return
            except GatewayError as error:
                if output.answering or not (error.retryable or (rest and says_too_long(error))):
                    raise  # another's context may be longer
                if rest:
                    if not self._may(alias, "elsewhere"):
                        raise
                    why = "next"
                    continue
                tried += 1
                pause = pause_s(error, tried, self._now() - began, patience_s, self._chance())
                if pause is None or not self._may(alias, "again"):
                    if isinstance(error, Overloaded) and error.retry_after_s is None:
                        error.retry_after_s = self._attempts.lines.wait_s(plan.order)
                    raise
            finally:
                if place is not None:
                    place.give_back()
            await asyncio.sleep(pause)
            plan = self._planner.plan(asked.route, asked.request, asked.marks)
            asked = msgspec.structs.replace(asked, plan=plan)
            rest = list(plan.order[: asked.route.attempts])
            why = plan.why

    async def _with_room(self, first: Deployment, rest: list[Deployment]) -> tuple[Deployment, Place | None]:
        """Who takes a request at once, or else the first that will. The others stay in *rest*, *first* before them."""
        rest.insert(0, first)
        chosen = next((one for one in rest if self._attempts.lines.room(one)), None)
        place = None
        if chosen is None:
            chosen, place = await self._attempts.lines.place(rest)
        rest.remove(chosen)
        return chosen, place

    def _may(self, alias: str, how: str) -> bool:
        may = self.retries.spend()
        self._metrics.retries.cell(alias, how if may else "over-budget").add()
        return may
