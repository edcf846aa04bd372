"""One exchange: from the model's name to the end of the reply. Reads as the request runs."""

from __future__ import annotations

from collections.abc import Callable

from moltbot_edge.core import prefixes
from moltbot_edge.core.errors import GatewayError
from moltbot_edge.gateway.attempt import Asked, ExchangeLimits
from moltbot_edge.gateway.caller import Caller, Request
from moltbot_edge.gateway.dialects import Dialects
from moltbot_edge.gateway.directory import Directory
from moltbot_edge.gateway.experience import Experience
from moltbot_edge.gateway.output import Output
from moltbot_edge.gateway.plan import Planner
from moltbot_edge.gateway.rounds import Rounds
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.upstream.ticker import Ticker


class Exchange:
    """*now* is `time.monotonic`."""

    def __init__(
        self,
        directory: Directory,
        dialects: Dialects,
        planner: Planner,
        rounds: Rounds,
        experience: Experience,
        metrics: Metrics,
        ticker: Ticker,
        limits: ExchangeLimits,
        now: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._dialects = dialects
        self._planner = planner
        self._rounds = rounds
        self._experience = experience
        self._metrics = metrics
        self._ticker = ticker
        self._limits = limits
        self._now = now

    async def answer(self, request: Request, caller: Caller) -> None:
        """Answer *caller*, with an error in its dialect where nothing else can be had. Raises nothing of ours.

        Cancelled (the caller has left), it frees the upstream in whatever phase it is.
        """
        began = self._now()
        output = Output(
            caller,
            request,
            self._metrics,
            ping_after_s=self._limits.ping_after_s,
            client_stall_s=self._limits.client_stall_s,
        )
        alias = request.head.model
        self._ticker.add(output)
        try:
            directory = self._directory
            route = await directory.route(alias) if directory.unasked else directory.catalog.route(alias)
            route = self._dialects.able(route, request)
            marks = prefixes.marks(request.body)
            self._experience.heard(request, route, began)
            plan = self._planner.plan(route, request, marks)
            lesson = None if plan.cohort is None else self._experience.opened(request, route, plan.cohort)
            asked = Asked(request, route, plan, marks, lesson)
            await self._rounds.ask(asked, output, began)
        except GatewayError as error:
            output.fail(error)
            if alias not in self._directory.catalog.routes:
                alias = ""  # a caller's invention is no label
        finally:
            self._ticker.discard(output)
            request.drop_body()
            metrics = self._metrics
            metrics.requests.cell(request.dialect.name, alias, str(output.status or 499)).add()
            metrics.request_seconds.cell(alias).observe(self._now() - began)
