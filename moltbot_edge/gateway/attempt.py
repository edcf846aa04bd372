"""One deployment asked: its address, the request on its way, the reply to the caller, and what is noted of it.

Asked in the caller's own dialect, bytes pass: `relay`. Otherwise they are translated.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

import msgspec

from moltbot_edge.core.catalog import Deployment, Route
from moltbot_edge.core.dialect import Mender, Operation, ReplyHead, ReplyReader
from moltbot_edge.core.errors import (
    ClosedUnanswered,
    EngineFailed,
    GatewayError,
    InvalidRequest,
    Overloaded,
    Unreachable,
    UpstreamRefused,
    UpstreamTimeout,
)
from moltbot_edge.core.events import Outcome
from moltbot_edge.core.head import Body, check_text, with_model, with_slot
from moltbot_edge.core.lease import Lease, Progress, Wish, unheard
from moltbot_edge.core.speed import Sent
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.dialects import Dialects
from moltbot_edge.gateway.experience import Experience, Lesson, Watched
from moltbot_edge.gateway.output import JSON, Output
from moltbot_edge.gateway.plan import Plan
from moltbot_edge.gateway.progress import asking, hearer, reading
from moltbot_edge.gateway.relay import Headers, is_stream, relay
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.metrics.instruments import Count, Level, Spread
from moltbot_edge.upstream.chat import Upstreams, refusal
from moltbot_edge.upstream.pool import Place
from moltbot_edge.upstream.wire import Address, Reply

if TYPE_CHECKING:  # it is there only on a board that runs models
    from moltbot_edge.gateway.rendering import Rendering

if TYPE_CHECKING:  # imported when the first caller speaks another dialect than its upstream
    from moltbot_edge.gateway.abilities import KnownAbilities
    from moltbot_edge.gateway.count import Counts
    from moltbot_edge.gateway.translate import EmbedTranslation, Translation

CHAT = "/chat/completions"
PROMPTED = (CHAT, "/completions")  # what an engine answers out of a slot's cache
UNKNOWN_S = 2.0  # what a reply takes where nobody knows
SOONEST_S, LATEST_S = 1.0, 300.0  # after which a caller is told to come back
NAMED = re.compile(rb'"param"\s*:\s*"')  # a field at fault
BLAMED = frozenset({400, 422, 500})  # what servers say to what is malformed
SILENT = (Unreachable, ClosedUnanswered, UpstreamTimeout, EngineFailed)  # where no byte has come before


class Engines(Protocol):
    """The engines on this board, as `local.supervisor.Supervisor` runs them."""

    def lease(self, name: str, wish: Wish) -> AbstractAsyncContextManager[Lease]:
        """Entered once the engine is ready; until it is left, the engine stays. Raises `EngineFailed`."""
        ...

    def states(self) -> Mapping[str, str]:
        """By the engines' names; ``ready`` is one that answers."""
        ...


class Contender(Protocol):
    """One of several deployments asked at the same time. *lost*: another one's first byte was there before."""

    lost: bool

    def claim(self) -> bool:
        """Be the one that answers the caller. False: it is too late, and nothing may be written."""
        ...


class ExchangeLimits(msgspec.Struct, frozen=True):
    """Defaults and their reasons are in `config.schema.Limits`."""

    ping_after_s: float
    client_stall_s: float
    reply_hold_bytes: int
    event_bytes: int
    translated_bytes: int


class Asked(msgspec.Struct, frozen=True):
    """What a caller wants, and how it is to be had. *marks* are of `core.prefixes`, of the request's body."""

    request: Request
    route: Route
    plan: Plan
    marks: Sequence[int]
    lesson: Lesson | None


class Attempts:
    """*now* is `time.monotonic`, *clock* is seconds since 1970; *new_id* names a reply that is written here."""

    def __init__(
        self,
        dialects: Dialects,
        upstreams: Upstreams,
        engines: Engines,
        standings: Standings,
        experience: Experience,
        metrics: Metrics,
        limits: ExchangeLimits,
        now: Callable[[], float],
        clock: Callable[[], float],
        new_id: Callable[[], str],
        rendering: Rendering | None = None,
    ) -> None:
        self._dialects = dialects
        self._clock = clock
        self._new_id = new_id
        self._upstreams = upstreams
        self._engines = engines
        self.rendering = rendering  # may come later, with the first engine
        self._standings = standings
        self._experience = experience
        self._metrics = metrics
        self._limits = limits
        self._now = now
        self._headers: dict[tuple[str, str], Headers] = {}
        self._cells: dict[str, _Cells] = {}
        self._right: set[tuple[str, str, bool]] = set()  # of a deployment, what lacks nothing
        self._counts: Counts | None = None
        self._abilities: KnownAbilities | None = None

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
        """Where none of *deployments* has room: wait for the first that has. Raises `Overloaded`."""
        try:
            number, place = await self._upstreams.in_line([one.upstream for one in deployments])
        except asyncio.CancelledError:
            self._metrics.callers_gone.cell("waiting").add()
            raise
        return deployments[number], place

    async def ask(
        self,
        asked: Asked,
        deployment: Deployment,
        output: Output,
        place: Place | None = None,
        contender: Contender | None = None,
    ) -> None:
        """Let *deployment* answer, to *output*. Raises `GatewayError`; whether the caller has seen a byte, it knows.

        *place* is one there, waited for already; it is given back where it was not used. Where there is
        a *contender*, it has to claim the answer first. Cancelled (the caller has left, or another one answers), it
        frees the upstream in whatever phase it is.
        """
        began = self._now()
        request, lesson = asked.request, asked.lesson
        translation = None
        dialect = request.dialect
        if deployment.upstream.dialect != dialect.name or dialect.foreign(request.body, deployment.model):
            if dialect.operations[request.path] is Operation.COUNT:
                await self._count(asked, deployment, output, contender)
                return
            translation = self._translation(asked, deployment, began)
        if place is None and not self.room(deployment):
            _, place = await self.place((deployment,))
            began = self._now()  # what was waited for was our own limit
        sent = self._standings.started(deployment, len(request.body), asked.marks, began)
        attempt = _Attempt(deployment, sent, began, began, place, contender, request.body)
        if translation is not None:
            attempt.translation, attempt.body, translation.body = translation, translation.body, b""
        name = deployment.name
        cells = self._cells.get(name) or self._fresh_cells(name)
        cells.in_flight.add(1)
        try:
            upstream = deployment.upstream
            if upstream.model_file is None:
                await self._send(asked, attempt, output, None)
            else:
                attempt.silent_since = None
                await self._ask_engine(asked, attempt, output)
        except (Overloaded, InvalidRequest) as error:  # a limit of ours, a wish of the caller's: not the deployment's
            self._standings.left(deployment, attempt.sent, self._now())
            self._metrics.attempts.cell(name, error.code or error.kind).add()
            raise
        except GatewayError as error:
            self._record(attempt, output.status, error)
            if lesson is not None:
                self._experience.failed(lesson, deployment.shared_name, error)
            raise
        except BaseException:  # the caller has left, or has its answer
            now = self._now()
            silent_s = 0.0 if attempt.silent_since is None else now - attempt.silent_since
            self._standings.left(deployment, attempt.sent, now, silent_s)
            if contender is None or not contender.lost:
                phase = "waiting" if attempt.first_byte_s is None else "streaming"
                self._metrics.callers_gone.cell(phase).add()
            raise
        else:
            self._record(attempt, output.status, None)
            if lesson is not None:
                self._experience.answered(lesson, deployment.shared_name, attempt.reader, self._now())
        finally:
            cells.in_flight.add(-1)
            if place is not None and not place.used:
                place.give_back()

    async def _ask_engine(self, asked: Asked, attempt: _Attempt, output: Output) -> None:
        """Its prompt is made steady; the trail of that, and not of what came in, is how its cache is found again."""
        request, engine = asked.request, attempt.deployment.upstream.name
        if request.head.progress:
            attempt.hear = hearer(request, output)
        translation, keep_s = attempt.translation, None
        if translation is not None:
            keep_s = translation.keep_s
            if translation.unloads and self._engines.states().get(engine) != "ready":
                await self._send(asked, attempt, output, None)  # not to be started to be stopped
                return
        wish = Wish((), len(attempt.body), request.head.session, attempt.hear, keep_s)
        rendering = self.rendering if attempt.path_of(request) in PROMPTED else None
        if rendering is not None:
            attempt.body, trail = rendering.of(engine, attempt.deployment.shared_name, attempt.body)
            wish = Wish(trail, len(attempt.body), request.head.session, attempt.hear, keep_s)
        async with self._engines.lease(engine, wish) as lease:
            attempt.began = attempt.silent_since = self._now()  # loading says nothing of its speed
            if translation is not None and rendering is not None:
                await self._fit(asked, attempt, lease, rendering)
            slot, differs = lease.slot, None
            if rendering is not None and slot is not None:
                differs = rendering.sent(engine, slot, attempt.body)
            await self._send(asked, attempt, output, lease)
            if attempt.reader is not None:
                lease.answered(attempt.reader.usage, attempt.reader.timings)
                if rendering is not None and slot is not None:
                    rendering.answered(engine, slot, differs, attempt.reader.usage)

    async def _fit(self, asked: Asked, attempt: _Attempt, lease: Lease, rendering: Rendering) -> None:
        """Again, if this engine's template was not known before: only the engine itself can say what it takes."""
        deployment = attempt.deployment
        if await self._known_abilities().learn(deployment, Address(*lease.address)):
            translation = self._translation(asked, deployment, attempt.began)
            attempt.translation = translation
            attempt.body, _ = rendering.of(deployment.upstream.name, deployment.shared_name, translation.body)
            translation.body = b""

    def _known_abilities(self) -> KnownAbilities:
        from moltbot_edge.gateway.abilities import KnownAbilities

        if self._abilities is None:
            self._abilities = KnownAbilities(self._upstreams)
        return self._abilities

    async def _send(self, asked: Asked, attempt: _Attempt, output: Output, lease: Lease | None) -> None:
        request, deployment, lesson = asked.request, attempt.deployment, asked.lesson
        translation, path = attempt.translation, attempt.path_of(request)
        name, policy = deployment.name, asked.route.policy
        own = self._headers.get((name, policy)) or self._fresh_headers(name, policy)
        if translation is not None and translation.answered(output, own):
            return
        body: Sequence[Body] = [attempt.body]
        if translation is None:
            body = _for_model(deployment.model, request, attempt.body)
        attempt.body = b""  # in memory only as long as it is on its way
        at = None
        if lease is not None:
            at = Address(*lease.address)
            if lease.slot is not None and path in PROMPTED:
                body = with_slot(body, lease.slot)
            if attempt.hear is not unheard and path in PROMPTED:
                body = asking(body)
        forwarded = request.forwarded if translation is None else translation.forwarded
        pool, pieces = self._upstreams.request(deployment, at, path, forwarded, body, request.form)
        del body
        reply = opened = await pool.send(pieces, attempt.place)
        del pieces
        try:
            if reply.status >= 300:
                refused = await refusal(deployment, reply)
                if translation is not None:
                    translation.explain(refused)
                else:
                    _blame(request, refused)
                raise refused
            attempt.first_byte_s = self._now() - attempt.began
            attempt.streamed = streamed = is_stream(reply) if translation is None else translation.streams(reply)
            if not streamed:
                attempt.silent_since = None
            limits = self._limits
            if attempt.hear is not unheard and streamed:
                reply = reading(reply, attempt.hear, limits.event_bytes)
            if asked.plan.reason:
                own = [*own, (b"x-moltbot-reason", asked.plan.reason)]
            if lesson is not None:
                own = [*own, (b"x-moltbot-exchange", lesson.id.encode())]
            if translation is not None:
                await self._deliver(translation, attempt, reply, output, own)
                return
            attempt.reader = reader = request.dialect.reader(streamed)
            if lesson is not None:
                attempt.reader = reader = Watched(reader, request.dialect.observer(streamed))
            await relay(
                reply,
                output,
                reader,
                own,
                lambda: self._answers(attempt),
                hold_bytes=limits.reply_hold_bytes,
                event_bytes=limits.event_bytes,
                any_kind=request.path in request.dialect.any_kind,
                mending=self._mending(attempt, request, streamed),
            )
        finally:
            opened.close()

    def _mending(self, attempt: _Attempt, request: Request, streamed: bool) -> Callable[[bytes], Mender | None] | None:
        """None where this upstream's replies were right once."""
        key = attempt.deployment.name, request.path, streamed
        if key in self._right:
            return None

        def head() -> ReplyHead:
            tokens = round(attempt.sent.prompt_tokens)
            return ReplyHead(self._new_id(), int(self._clock()), request.head.model, prompt_tokens=tokens)

        def mending(first: bytes) -> Mender | None:
            found = request.dialect.mender(request.path, streamed, first, head)
            if found is None:
                self._right.add(key)
            return found

        return mending

    def _translation(self, asked: Asked, deployment: Deployment, began: float) -> Translation | EmbedTranslation:
        """Raises `InvalidRequest`."""
        from moltbot_edge.gateway.translate import translation

        request = asked.request
        tokens = round(self._standings.prompt_tokens(deployment.model, len(request.body)))
        head = ReplyHead(self._new_id(), int(self._clock()), request.head.model, lambda: self._now() - began, tokens)
        theirs = self._dialects.named(deployment.upstream.dialect)
        able = None
        if self._abilities is not None or deployment.upstream.props:
            able = self._known_abilities().of(deployment)
        return translation(request, deployment, theirs, head, self._limits, able, learns=asked.lesson is not None)

    async def _deliver(
        self,
        translation: Translation | EmbedTranslation,
        attempt: _Attempt,
        reply: Reply,
        output: Output,
        own: Headers,
    ) -> None:
        attempt.reader = translation
        await translation.deliver(reply, output, own, lambda: self._answers(attempt))
        if translation.observer is not None:
            attempt.reader = watched = Watched(translation, translation.observer)
            watched.end()

    async def _count(self, asked: Asked, deployment: Deployment, output: Output, contender: Contender | None) -> None:
        """Asked of the upstream where it counts, an estimate elsewhere. Raises `InvalidRequest`."""
        from moltbot_edge.gateway.count import Counts

        request = asked.request
        translation = self._translation(asked, deployment, self._now())
        if self._counts is None:
            self._counts = Counts(self._upstreams, self._engines)
        tokens = await self._counts.count(deployment, translation.path, translation.body)
        name, policy = deployment.name, asked.route.policy
        own = self._headers.get((name, policy)) or self._fresh_headers(name, policy)
        if tokens is None:
            tokens = round(self._standings.prompt_tokens(deployment.model, len(request.body)))
            own = [*own, (b"x-moltbot-estimated", b"input_tokens")]
        if contender is None or contender.claim():
            output.whole(200, [JSON, *own], request.dialect.count_reply(tokens))

    def _answers(self, attempt: _Attempt) -> bool:
        """The first byte is about to go to the caller. False: it must not."""
        if attempt.streamed:
            attempt.first_byte_s = self._now() - attempt.began
            attempt.silent_since = None
        if attempt.sent.tried:
            self._standings.answering(attempt.deployment, attempt.sent, self._now())
        return attempt.contender is None or attempt.contender.claim()

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
            silent=attempt.first_byte_s is None and isinstance(error, SILENT),
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


def _blame(request: Request, refused: GatewayError) -> None:
    """Raises `InvalidRequest` where what was refused is malformed: an upstream may fail at it, or not say where."""
    if not isinstance(refused, UpstreamRefused) or refused.too_long or refused.answered not in BLAMED:
        return
    if refused.answered != 500 and NAMED.search(refused.body):
        return
    if request.dialect.operations.get(request.path) is Operation.CHAT:
        try:
            check_text(request.body)
            request.dialect.codec().read_request(request.path, request.body)
        except InvalidRequest as error:
            raise error from refused


def _for_model(model: str, request: Request, body: bytes | bytearray) -> list[Body]:
    if not request.form:
        return with_model(body, model, request.head)
    from moltbot_edge.core import multipart  # files are seldom sent

    return multipart.with_model(request.form, body, model, request.head.model)


class _Cells(msgspec.Struct, frozen=True):
    """What is counted of one deployment at every request."""

    in_flight: Level
    ok: Count
    first_byte_seconds: Spread
    input: Count
    output: Count
    cached: Count
    predicted_ratio: Spread


class _Attempt(msgspec.Struct):
    """One deployment being asked. *began* is monotonic, and *silent_since*; None while it loads or answers."""

    deployment: Deployment
    sent: Sent
    began: float
    silent_since: float | None
    place: Place | None
    contender: Contender | None
    body: bytes | bytearray
    translation: Translation | EmbedTranslation | None = None
    reader: ReplyReader | None = None
    first_byte_s: float | None = None
    streamed: bool = False
    hear: Callable[[Progress], None] = unheard

    def path_of(self, request: Request) -> str:
        """Below the upstream's base URL."""
        return request.dialect.paths[request.path] if self.translation is None else self.translation.path
