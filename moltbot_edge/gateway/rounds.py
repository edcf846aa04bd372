"""A request on its way through the deployments of a plan: one after another, two at once where one is late.

A deployment that is full is passed over while another has room. Each one asked after a failure costs something of an
allowance: when everything fails, asking again helps nobody. Once all have failed, and a moment may change that, they
are asked again after a pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.errors import GatewayError
from moltbot_edge.core.fallback import instead, says_too_long
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

ANOTHER_FAILED: Final = b"the one before failed"
ANOTHER_HAD_ROOM: Final = b"those before were full"


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
        self._lines = attempts.lines
        self._metrics = metrics
        self._patience_s = patience_s
        self._now = now
        self._chance = chance

    async def ask(self, asked: Asked, output: Output, began: float, *, patient: bool = True) -> None:
        """Until one has answered, to *output*. Raises what the last one raised.

        *patient*: nothing else can be asked, so the same are, once all have failed and a moment may change that.
        """
        self.retries.requests += 1
        if self.hedging is not None:
            self.hedging.allowance.requests += 1
        alias, policy = asked.route.alias, asked.route.policy
        patience_s = self._patience_s if patient else 0.0
        rest, why, tried = list(asked.plan.order[: asked.route.attempts]), asked.plan.why, 0
        while True:
            place = None
            if len(rest) > 1 and not self._lines.room(rest[0]):
                place, why = await self._with_room(rest), "room"
                asked = _said(asked, ANOTHER_HAD_ROOM)
            deployment = rest.pop(0)
            if why is not None:
                self._metrics.decisions.cell(alias, policy, why).add()
            try:
                other = self.hedging.other(deployment, rest) if self.hedging is not None and rest else None
                if self.hedging is None or other is None:
                    await self._attempts.ask(asked, deployment, output, place)
                else:
                    await self.hedging.ask(asked, deployment, other, rest, output, place)
                return
            except GatewayError as error:
                if not rest and not output.answering and self._narrower(asked, deployment, error):
                    rest, why = [deployment], None
                    continue
                if output.answering or not (error.retryable or (rest and says_too_long(error))):
                    raise  # another's context may be longer
                if rest:
                    if not self._may(alias, "elsewhere"):
                        raise
                    why, asked = "next", _said(asked, ANOTHER_FAILED)
                    continue
                tried += 1
                pause = pause_s(error, tried, self._now() - began, patience_s, self._chance())
                if pause is None or not self._may(alias, "again"):
                    raise
            finally:
                if place is not None:
                    place.give_back()
            await asyncio.sleep(pause)
            asked = asked.planned(self._planner.plan(asked.route, asked.request, asked.marks))
            rest, why = list(asked.plan.order[: asked.route.attempts]), asked.plan.why

    async def _with_room(self, rest: list[Deployment]) -> Place | None:
        """Put first in *rest* who takes a request at once, or else the first that will. Raises `Overloaded`."""
        chosen = next((one for one in rest if self._lines.room(one)), None)
        place = None
        if chosen is None:
            chosen, place = await self._lines.place(rest)
        rest.remove(chosen)
        rest.insert(0, chosen)
        return place

    def _narrower(self, asked: Asked, deployment: Deployment, error: GatewayError) -> bool:
        """Whether the same is asked once more, with less of what was said before: where no other model is named."""
        return (
            asked.request.conversation is not None
            and not instead(asked.route, asked.request.head.fallbacks, error)
            and self._attempts.narrower(asked, deployment, error)
        )

    def _may(self, alias: str, how: str) -> bool:
        may = self.retries.spend()
        self._metrics.retries.cell(alias, how if may else "over-budget").add()
        return may


def _said(asked: Asked, reason: bytes) -> Asked:
    """With another *reason* in the reply's header than the policy's, which was for its first choice."""
    return asked.planned(replace(asked.plan, reason=reason))
