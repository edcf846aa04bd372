"""One exchange: from the model's name to the end of the reply. Reads as the request runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from moltbot_edge.core import prefixes
from moltbot_edge.core.catalog import Route
from moltbot_edge.core.errors import (
    GatewayError,
    Overloaded,
    SessionBusy,
    SessionTooLarge,
    StoreError,
    UnknownItem,
    UnknownPrevious,
    UnknownSession,
)
from moltbot_edge.core.fallback import instead, says_too_long, too_narrow
from moltbot_edge.gateway.asked import Asked, ExchangeLimits
from moltbot_edge.gateway.caller import Caller, Request
from moltbot_edge.gateway.dialects import Dialects
from moltbot_edge.gateway.directory import Directory
from moltbot_edge.gateway.experience import Experience
from moltbot_edge.gateway.output import Output
from moltbot_edge.gateway.plan import Planner
from moltbot_edge.gateway.rounds import Rounds
from moltbot_edge.gateway.sessions import Sessions
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.upstream.ticker import Ticker

# Said before any upstream was asked.
OF_SESSIONS: Final = (SessionBusy, SessionTooLarge, StoreError, UnknownItem, UnknownPrevious, UnknownSession)


class Exchange:
    """*now* is `time.monotonic`."""

    def __init__(
        self,
        directory: Directory,
        dialects: Dialects,
        planner: Planner,
        rounds: Rounds,
        sessions: Sessions,
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
        self._sessions = sessions
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
        alias = ""  # a caller's invention is no label
        self._ticker.add(output)
        try:
            directory = self._directory
            name = request.head.model
            route = await directory.route(name) if directory.unasked else directory.catalog.route(name)
            alias = route.alias
            for name in request.head.fallbacks:
                directory.catalog.route(name)  # a slip of the pen is told before it is needed
            route = self._dialects.able(route, request)
            if (request.head.session is not None or request.head.keeps) and self._sessions.wants(request):
                async with self._sessions.conversation(request):
                    await self._routed(route, request, output, began)
            else:
                await self._routed(route, request, output, began)
        except GatewayError as error:
            if isinstance(error, OF_SESSIONS):
                self._metrics.refused.cell(error.code or error.kind).add()
            output.fail(error)
        finally:
            self._ticker.discard(output)
            request.drop_body()
            metrics = self._metrics
            metrics.requests.cell(request.dialect.name, alias, str(output.status or 499)).add()
            metrics.request_seconds.cell(alias).observe(self._now() - began)

    async def _routed(self, route: Route, request: Request, output: Output, began: float) -> None:
        self._experience.heard(request, route, began)
        marks = prefixes.marks(request.body)
        names = request.head.fallbacks or route.fallbacks
        if route.context_fallbacks and self._too_narrow(route, request):
            await self._instead(route, route.context_fallbacks, "too-long", request, marks, output, began)
        elif names and self._planner.rests(route):
            await self._spared(route, names, request, marks, output, began)
        else:
            try:
                asked = self._asked(route, request, marks)
                await self._rounds.ask(asked, output, began, patient=not names)
            except GatewayError as error:
                others = () if output.answering else instead(route, request.head.fallbacks, error)
                if not others:
                    raise  # here: in a function of its own it would hold itself, and the body with it
                why = "too-long" if says_too_long(error) else "failed"
                await self._instead(route, others, why, request, marks, output, began)

    def _asked(self, route: Route, request: Request, marks: Sequence[int], reason: bytes = b"") -> Asked:
        """*reason*, where *route* stands for another, is the one for the reply's header."""
        plan = self._planner.plan(route, request, marks)
        lesson = None if plan.cohort is None else self._experience.opened(request, route, plan.cohort)
        asked = Asked(request, route, plan, marks, lesson, reason)
        return asked.planned(plan) if reason else asked

    async def _spared(
        self,
        route: Route,
        names: Sequence[str],
        request: Request,
        marks: Sequence[int],
        output: Output,
        began: float,
    ) -> None:
        """Nobody of *route* can be asked now, which would cost the caller a time limit: so the others come first."""
        try:
            await self._instead(route, names, "out", request, marks, output, began)
        except GatewayError as error:
            if output.answering or not error.retryable:
                raise
            await self._rounds.ask(self._asked(route, request, marks), output, began)

    async def _instead(
        self,
        first: Route,
        names: Sequence[str],
        why: str,
        request: Request,
        marks: Sequence[int],
        output: Output,
        began: float,
    ) -> None:
        """Ask for *names*, one after another, in place of *first*. Raises what the last one raised."""
        from moltbot_edge.gateway import home  # seldom needed

        for position, name in enumerate(names, 1):
            try:
                route = home.fallback(first, self._dialects.able(await self._directory.route(name), request))
                if not route.deployments:
                    raise Overloaded(
                        f"{first.alias!r} is private, and {name!r} is not on this network", retry_after_s=5
                    )
                self._metrics.fallbacks.cell(first.alias, route.alias, why).add()
                reason = b"%b: %b" % (first.alias.encode(), why.encode())
                asked = self._asked(route, request, marks, reason)
                await self._rounds.ask(asked, output, began, patient=position == len(names))
                return
            except GatewayError as error:
                if output.answering or position == len(names) or not (error.retryable or says_too_long(error)):
                    raise

    def _too_narrow(self, route: Route, request: Request) -> bool:
        cuts = self._planner.cuts
        if request.conversation is not None and cuts is not None:
            return all(cuts(request, one) for one in route.deployments)
        return too_narrow(route, lambda model: self._planner.prompt_tokens(model, request))
