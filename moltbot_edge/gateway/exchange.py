"""One exchange: a request goes to one candidate after another until one answers. Reads as the request runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from moltbot_edge.core import prefixes, routing
from moltbot_edge.core.catalog import Catalog, Deployment, Route
from moltbot_edge.core.dialect import ReplyReader
from moltbot_edge.core.errors import GatewayError, Overloaded
from moltbot_edge.core.events import Outcome
from moltbot_edge.core.head import with_model
from moltbot_edge.core.routing import Choice, Policy, RouteQuery
from moltbot_edge.core.speed import Sent
from moltbot_edge.gateway.caller import Caller, Request
from moltbot_edge.gateway.experience import Experience, Lesson, Watched
from moltbot_edge.gateway.output import Output
from moltbot_edge.gateway.relay import Headers, is_stream, relay
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.metrics.instruments import Count, Level, Spread
from moltbot_edge.upstream.chat import Upstreams, refusal
from moltbot_edge.upstream.ticker import Ticker
from moltbot_edge.upstream.wire import Address

log = logging.getLogger(__name__)


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
    """*policies* are by alias, *now* is `time.monotonic`, *chance* gives a number in [0, 1)."""

    def __init__(
        self,
        catalog: Catalog,
        policies: Mapping[str, Policy],
        upstreams: Upstreams,
        engines: Engines,
        metrics: Metrics,
        ticker: Ticker,
        limits: ExchangeLimits,
        experience: Experience,
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
        self._experience = experience
        self._now = now
        self._chance = chance
        self._turns = dict.fromkeys(catalog.routes, 0)
        self._standings = Standings()
        self._headers: dict[tuple[str, str], Headers] = {}
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
            marks = prefixes.marks(request.body)
            self._experience.heard(request, route, began)
            plan = self._plan(route, request, marks)
            lesson = None if plan.cohort is None else self._experience.opened(request, route, plan.cohort)
            order = plan.order[: route.attempts]
            for position, deployment in enumerate(order, 1):
                if plan.why is not None:
                    why = plan.why if position == 1 else "next"
                    self._metrics.decisions.cell(alias, route.policy, why).add()
                try:
                    await self._attempt(route, plan, deployment, request, marks, output, lesson)
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

    def _plan(self, route: Route, request: Request, marks: Sequence[int]) -> _Plan:
        if len(route.deployments) == 1:
            return _Plan(route.deployments)
        turn = self._turns[route.alias]
        self._turns[route.alias] = turn + 1
        candidates = self._standings.candidates(route.deployments, len(request.body), marks)
        query = RouteQuery(
            route.alias,
            int(candidates[0].prompt_tokens or 0),
            request.head.session,
            turn,
            self._chance(),
            request.prompt,
            request.body,
            self._now(),
            route.deployments,
            self._experience.tallies(route.alias),
        )
        ready = routing.eligible(candidates, query)
        self._metrics.candidates.cell(route.alias).set(len(ready))
        try:
            said = self._policies[route.alias](ready, query)
            choice = said if isinstance(said, Choice) else Choice(said)
            plan = _Plan(
                [candidate.deployment for candidate in choice.order],
                _printable(choice.reason),
                choice.cohort,
                "policy" if len(ready) > 1 else "left",
            )
        except Exception:  # a plug-in's fault must not cost an answer: its log says so, and the order stays as it was
            log.exception("the policy %r failed for %r", route.policy, route.alias)
            order = [candidate.deployment for candidate in ready]
            return _Plan(order, b"the policy failed", None, "unordered")
        if not plan.order:
            raise Overloaded(f"the policy {route.policy!r} leaves no deployment of {route.alias!r} to ask")
        return plan

    async def _attempt(
        self,
        route: Route,
        plan: _Plan,
        deployment: Deployment,
        request: Request,
        marks: Sequence[int],
        output: Output,
        lesson: Lesson | None,
    ) -> None:
        began = self._now()
        sent = self._standings.started(deployment, len(request.body), marks, began)
        attempt = _Attempt(deployment, sent, began, began)
        name = deployment.name
        cells = self._cells.get(name) or self._fresh_cells(name)
        cells.in_flight.add(1)
        try:
            upstream = deployment.upstream
            engine_at = None
            if upstream.model_file is not None:
                attempt.silent_since = None
                engine_at = await self._engine_address(upstream.name)
                attempt.began = attempt.silent_since = self._now()  # what it took to load says nothing of its speed
            pool, pieces = self._upstreams.request(
                deployment,
                engine_at,
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
                attempt.streamed = streamed = is_stream(reply)
                if not streamed:
                    attempt.silent_since = None
                attempt.reader = reader = request.dialect.reader(streamed)
                limits = self._limits
                own = self._headers.get((name, route.policy)) or self._fresh_headers(name, route.policy)
                if plan.reason:
                    own = [*own, (b"x-moltbot-reason", plan.reason)]
                if lesson is not None:
                    attempt.reader = reader = Watched(reader, request.dialect.observer(streamed))
                    own = [*own, (b"x-moltbot-exchange", lesson.id.encode())]
                await relay(
                    reply,
                    output,
                    reader,
                    own,
                    lambda: attempt.began_to_answer(self._now()),
                    hold_bytes=limits.reply_hold_bytes,
                    event_bytes=limits.event_bytes,
                )
            finally:
                reply.close()
        except GatewayError as error:
            self._record(attempt, output.status, error)
            if lesson is not None:
                self._experience.failed(lesson, deployment.shared_name, error)
            raise
        except BaseException:  # the caller has left
            now = self._now()
            silent_s = 0.0 if attempt.silent_since is None else now - attempt.silent_since
            self._standings.left(deployment, attempt.sent, now, silent_s)
            phase = "waiting" if attempt.first_byte_s is None else "streaming"
            self._metrics.callers_gone.cell(phase).add()
            raise
        else:
            self._record(attempt, output.status, None)
            if lesson is not None:
                self._experience.answered(lesson, deployment.shared_name, attempt.reader, self._now())
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
            metrics.first_token_predicted_ratio.cell(name),
        )
        return cells

    def _fresh_headers(self, name: str, policy: str) -> Headers:
        own = [(b"x-moltbot-deployment", name.encode()), (b"x-moltbot-policy", policy.encode())]
        self._headers[name, policy] = own
        return own

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
            streamed=attempt.streamed,
        )
        self._standings.ended(attempt.deployment, attempt.sent, outcome, now)
        cells = self._cells[name]
        if error is None:
            cells.ok.add()
        else:
            self._metrics.attempts.cell(name, error.code or error.kind).add()
        if outcome.first_byte_s is not None:
            cells.first_byte_seconds.observe(outcome.first_byte_s)
            if attempt.streamed and attempt.sent.first_token_s is not None:
                cells.predicted_ratio.observe(attempt.sent.first_token_s / max(outcome.first_byte_s, 1e-6))
        usage = outcome.usage
        if usage is not None:
            cells.input.add(usage.input_tokens)
            cells.output.add(usage.output_tokens)
            cells.cached.add(usage.cached_tokens)


class _Cells(msgspec.Struct, frozen=True):
    """What is counted of one deployment at every request."""

    in_flight: Level
    ok: Count
    first_byte_seconds: Spread
    input: Count
    output: Count
    cached: Count
    predicted_ratio: Spread


class _Plan(msgspec.Struct, frozen=True):
    """What a policy chose, as the exchange carries it out. *reason* is fit for a header.

    *why* is the metric's word for how it came about; None where there was nothing to decide.
    """

    order: Sequence[Deployment]
    reason: bytes = b""
    cohort: str | None = None
    why: str | None = None


def _printable(text: str) -> bytes:
    """A plug-in's words: no line's end among them may begin another header."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(one if one.isprintable() else " " for one in text).encode("ascii", "replace")


class _Attempt(msgspec.Struct):
    """One deployment being asked. *began* is monotonic, and *silent_since*; None while it loads or answers."""

    deployment: Deployment
    sent: Sent
    began: float
    silent_since: float | None
    reader: ReplyReader | None = None
    first_byte_s: float | None = None
    streamed: bool = False

    def began_to_answer(self, now: float) -> None:
        self.first_byte_s = now - self.began
        self.silent_since = None
