"""One exchange: a request goes to one candidate after another until one answers. Reads as the request runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from moltbot_edge.core import routing
from moltbot_edge.core.catalog import Catalog, Deployment, Route
from moltbot_edge.core.dialect import ReplyReader
from moltbot_edge.core.errors import GatewayError, Overloaded
from moltbot_edge.core.events import Outcome
from moltbot_edge.core.head import with_model
from moltbot_edge.core.routing import Candidate, Choice, Policy, RouteQuery
from moltbot_edge.core.scoreboard import Standing
from moltbot_edge.gateway.caller import Caller, Request
from moltbot_edge.gateway.output import Output
from moltbot_edge.gateway.relay import is_stream, relay
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.metrics.instruments import Count, Level, Spread
from moltbot_edge.upstream.chat import Upstreams, refusal
from moltbot_edge.upstream.ticker import Ticker
from moltbot_edge.upstream.wire import Address

log = logging.getLogger(__name__)

BYTES_PER_TOKEN = 4  # of a JSON body with English text; calibrated per model by the scoreboard to come


class Engines(Protocol):
    """The engines on this board, as `local.supervisor.Supervisor` runs them."""

    async def ensure_ready(self, name: str) -> tuple[str, int]: ...


class ExchangeLimits(msgspec.Struct, frozen=True):
    """Defaults and their reasons are in `config.schema.Limits`."""

    ping_after_s: float
    client_stall_s: float
    reply_hold_bytes: int
    event_bytes: int


class Exchange:
    """Holds the standings of all deployments: the one copy that changes.

    *policies* are by alias, *now* is `time.monotonic`, *chance* gives a number in [0, 1).
    """

    def __init__(
        self,
        catalog: Catalog,
        policies: Mapping[str, Policy],
        upstreams: Upstreams,
        engines: Engines,
        metrics: Metrics,
        ticker: Ticker,
        limits: ExchangeLimits,
        now: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.catalog = catalog
        self._policies = policies
        self._upstreams = upstreams
        self._engines = engines
        self._metrics = metrics
        self._ticker = ticker
        self._limits = limits
        self._now = now
        self._chance = chance
        self._turns = dict.fromkeys(catalog.routes, 0)
        self._standings: dict[str, Standing] = {}
        self._cells: dict[str, _Cells] = {}

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
            route = self.catalog.route(alias)
            plan = self._plan(route, request)
            order = plan.order[: route.attempts]
            for position, deployment in enumerate(order, 1):
                try:
                    await self._attempt(route, plan, deployment, request, output)
                    break
                except GatewayError as error:
                    if output.answering or not error.retryable or position == len(order):
                        raise
        except GatewayError as error:
            output.fail(error)
            if alias not in self.catalog.routes:
                alias = ""  # a caller's invention is no label
        finally:
            self._ticker.discard(output)
            request.drop_body()
            metrics = self._metrics
            metrics.requests.cell(request.dialect.name, alias, str(output.status or 499)).add()
            metrics.request_seconds.cell(alias).observe(self._now() - began)

    def _plan(self, route: Route, request: Request) -> _Plan:
        if len(route.deployments) == 1:
            return _Plan(route.deployments)
        turn = self._turns[route.alias]
        self._turns[route.alias] = turn + 1
        query = RouteQuery(
            route.alias,
            len(request.body) // BYTES_PER_TOKEN,
            request.head.session,
            turn,
            self._chance(),
            request.prompt,
        )
        candidates = [Candidate(one, self._standings.get(one.name, _FRESH)) for one in route.deployments]
        ready = routing.eligible(candidates, query, self._now())
        try:
            said = self._policies[route.alias](ready, query)
            choice = said if isinstance(said, Choice) else Choice(said)
            plan = _Plan([candidate.deployment for candidate in choice.order], _printable(choice.reason), choice.cohort)
        except Exception:  # a plug-in's fault must not cost an answer: its log says so, and the order stays as it was
            log.exception("the policy %r failed for %r", route.policy, route.alias)
            return _Plan([candidate.deployment for candidate in ready], b"the policy failed")
        if not plan.order:
            raise Overloaded(f"the policy {route.policy!r} leaves no deployment of {route.alias!r} to ask")
        return plan

    async def _attempt(
        self, route: Route, plan: _Plan, deployment: Deployment, request: Request, output: Output
    ) -> None:
        attempt = _Attempt(deployment, self._now())
        name = deployment.name
        self._standings[name] = self._standings.get(name, _FRESH).started()
        cells = self._cells.get(name) or self._fresh_cells(name)
        cells.in_flight.add(1)
        try:
            upstream = deployment.upstream
            pool, pieces = self._upstreams.request(
                deployment,
                await self._engine_address(upstream.name) if upstream.model_file is not None else None,
                request.dialect.paths[request.path],
                request.forwarded,
                with_model(request.body, deployment.model, request.head.model),
            )
            reply = await pool.send(pieces)
            del pieces
            try:
                if reply.status >= 300:
                    raise await refusal(deployment, reply)
                attempt.first_byte_s = self._now() - attempt.began
                attempt.reader = reader = request.dialect.reader(is_stream(reply))
                limits = self._limits
                own = [(b"x-moltbot-deployment", name.encode()), (b"x-moltbot-policy", route.policy.encode())]
                if plan.reason:
                    own.append((b"x-moltbot-reason", plan.reason))
                await relay(
                    reply,
                    output,
                    reader,
                    own,
                    hold_bytes=limits.reply_hold_bytes,
                    event_bytes=limits.event_bytes,
                )
            finally:
                reply.close()
        except GatewayError as error:
            self._record(attempt, output.status, error)
            raise
        except BaseException:  # the caller has left; nothing was learned of the deployment
            self._standings[name] = self._standings[name].left()
            phase = "waiting" if attempt.first_byte_s is None else "streaming"
            self._metrics.callers_gone.cell(phase).add()
            raise
        else:
            self._record(attempt, output.status, None)
        finally:
            cells.in_flight.add(-1)

    async def _engine_address(self, name: str) -> Address:
        """Where an engine listens, once it does. Raises `EngineFailed`."""
        return Address(*await self._engines.ensure_ready(name))

    def _fresh_cells(self, name: str) -> _Cells:
        metrics = self._metrics
        self._cells[name] = cells = _Cells(
            metrics.in_flight.cell(name),
            metrics.attempts.cell(name, "ok"),
            metrics.first_byte_seconds.cell(name),
            metrics.tokens.cell(name, "input"),
            metrics.tokens.cell(name, "output"),
            metrics.tokens.cell(name, "cached"),
        )
        return cells

    def _record(self, attempt: _Attempt, status: int, error: GatewayError | None) -> None:
        now = self._now()
        name = attempt.deployment.name
        reader = attempt.reader
        outcome = Outcome(
            deployment=name,
            status=status,
            duration_s=now - attempt.began,
            first_byte_s=attempt.first_byte_s,
            error=(error.code or error.kind) if error is not None and error.retryable else None,  # else the caller's
            retry_after_s=None if error is None else error.retry_after_s,
            usage=None if reader is None else reader.usage,
            timings=None if reader is None else reader.timings,
        )
        self._standings[name] = self._standings[name].ended(outcome, now)
        cells = self._cells[name]
        if error is None:
            cells.ok.add()
        else:
            self._metrics.attempts.cell(name, error.code or error.kind).add()
        if outcome.first_byte_s is not None:
            cells.first_byte_seconds.observe(outcome.first_byte_s)
        usage = outcome.usage
        if usage is not None:
            cells.input.add(usage.input_tokens)
            cells.output.add(usage.output_tokens)
            cells.cached.add(usage.cached_tokens)


_FRESH = Standing()


class _Cells(msgspec.Struct, frozen=True):
    """What is counted of one deployment at every request."""

    in_flight: Level
    ok: Count
    first_byte_seconds: Spread
    input: Count
    output: Count
    cached: Count


class _Plan(msgspec.Struct, frozen=True):
    """What a policy chose, as the exchange carries it out. *reason* is fit for a header."""

    order: Sequence[Deployment]
    reason: bytes = b""
    cohort: str | None = None


def _printable(text: str) -> bytes:
    """A plug-in's words: no line's end among them may begin another header."""
    return "".join(one if one.isprintable() else " " for one in text).encode("ascii", "replace")


class _Attempt(msgspec.Struct):
    """One deployment being asked. *began* is monotonic."""

    deployment: Deployment
    began: float
    reader: ReplyReader | None = None
    first_byte_s: float | None = None
