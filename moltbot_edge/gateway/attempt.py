"""One deployment asked: its address, the request on its way, the reply to the caller.

Asked in the caller's own dialect, bytes pass: `relay`. Otherwise they are translated. What is noted of it all is the
ledger's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.dialect import Mender, Operation
from moltbot_edge.core.errors import GatewayError, InvalidRequest, UpstreamRefused
from moltbot_edge.core.fallback import says_too_long
from moltbot_edge.core.head import Body, with_slot
from moltbot_edge.core.lease import Lease, Wish, unheard
from moltbot_edge.gateway.asked import PROMPTED, Asked, Attempt, Contender, ExchangeLimits
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.dialects import Dialects
from moltbot_edge.gateway.engines import Engines
from moltbot_edge.gateway.experience import Experience, Watched
from moltbot_edge.gateway.ledger import Ledger
from moltbot_edge.gateway.lines import Lines
from moltbot_edge.gateway.outgoing import blame, for_model
from moltbot_edge.gateway.output import JSON, Output
from moltbot_edge.gateway.progress import asking, hearer, reading
from moltbot_edge.gateway.relay import Headers, is_stream, relay
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.gateway.translations import Translations
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.upstream.chat import Upstreams, refusal
from moltbot_edge.upstream.pool import Place
from moltbot_edge.upstream.wire import Address, Reply

if TYPE_CHECKING:  # it is there only on a board that runs models
    from moltbot_edge.gateway.rendering import Rendering

if TYPE_CHECKING:  # imported at the first request that asks for a session
    from moltbot_edge.gateway.conversation import Conversation
    from moltbot_edge.gateway.fit import Fitting

if TYPE_CHECKING:  # imported when the first caller speaks another dialect than its upstream
    from moltbot_edge.gateway.translate import EmbedTranslation, Translation


class Attempts:
    """*now* is `time.monotonic`, *clock* is seconds since 1970; *new_id* names a reply that is written here.

    *fitting* makes what is needed for sessions, once.
    """

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
        fitting: Callable[[], Fitting],
        rendering: Rendering | None = None,
    ) -> None:
        self.lines = Lines(upstreams, standings, metrics)
        self.rendering = rendering  # may come later, with the first engine
        self._new_fitting = fitting
        self._fitting: Fitting | None = None
        self._ledger = Ledger(standings, experience, metrics, now)
        self._translations = Translations(dialects, upstreams, engines, standings, limits, now, clock, new_id)
        self._upstreams = upstreams
        self._engines = engines
        self._standings = standings
        self._limits = limits
        self._now = now
        self._headers: dict[tuple[str, str], Headers] = {}
        self._right: set[tuple[str, str, bool]] = set()  # of a deployment, what lacks nothing

    def trail(self, conversation: Conversation, deployment: Deployment) -> Sequence[int]:
        """Of what an engine of this board would be sent for a kept conversation; empty where it cannot be sent."""
        if self.rendering is None:
            return ()
        try:
            able = self._translations.able(deployment)
            body = self._translations.as_sent(self._known_fitting().likely(conversation, deployment, able), deployment)
        except InvalidRequest:
            return ()
        return self.rendering.of(deployment.upstream.name, deployment.shared_name, body)[1]

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
        request = asked.request
        translation = None
        dialect, conversation = request.dialect, request.conversation
        body_bytes, marks, fit = len(request.body), asked.marks, None
        if conversation is not None:
            if dialect.operations[request.path] is Operation.COUNT:  # of all of it, whatever will be left out
                await self._count(asked, deployment, output, place, contender)
                return
            await self._fit(request, deployment, place)
            if place is not None and place.used:
                place = None
            if (fit := conversation.fits.get(deployment.name)) is not None:
                body_bytes, marks = fit.body_bytes, fit.marks
            began = self._now()
            translation = self._translations.of(asked, deployment, began)
        elif deployment.upstream.dialect != dialect.name or dialect.foreign(request.body, deployment.model):
            if dialect.operations[request.path] is Operation.COUNT:
                await self._count(asked, deployment, output, place, contender)
                return
            translation = self._translations.of(asked, deployment, began)
        upstream = deployment.upstream
        if place is None and upstream.model_file is None and not self._upstreams.room(upstream):
            _, place = await self.lines.place((deployment,))
            began = self._now()  # what was waited for was our own limit
        held = None if conversation is None else conversation.held
        sent = self._standings.started(deployment, body_bytes, marks, began, held, whole=fit is None)
        attempt = Attempt(deployment, sent, began, began, place, contender, request.body)
        if translation is not None:
            attempt.translation, attempt.body, translation.body = translation, translation.body, b""
        in_flight = self._ledger.in_flight(deployment.name)
        in_flight.add(1)
        try:
            if upstream.model_file is None:
                await self._send(asked, attempt, output, None)
            else:
                attempt.silent_since = None
                await self._ask_engine(asked, attempt, output)
        except GatewayError as error:
            self._ledger.failed(asked, attempt, output.status, error)
            raise
        except BaseException:
            self._ledger.left(attempt)
            raise
        else:
            self._ledger.answered(asked, attempt, output.status)
        finally:
            in_flight.add(-1)
            if place is not None and not place.used:
                place.give_back()

    async def _ask_engine(self, asked: Asked, attempt: Attempt, output: Output) -> None:
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
        trail: Sequence[int] = ()
        rendering = self.rendering if attempt.path_of(request) in PROMPTED else None
        if rendering is not None:
            attempt.body, trail = rendering.of(engine, attempt.deployment.shared_name, attempt.body)
        wish = Wish(trail, len(attempt.body), request.head.session, attempt.hear, keep_s)
        async with self._engines.lease(engine, wish) as lease:
            attempt.began = attempt.silent_since = self._now()  # loading says nothing of its speed
            if translation is not None and rendering is not None:
                await self._learn(asked, attempt, lease, rendering)
            slot, differs = lease.slot, None
            if rendering is not None and slot is not None:
                differs = rendering.sent(engine, slot, attempt.body)
            await self._send(asked, attempt, output, lease)
            if attempt.reader is not None:
                lease.answered(attempt.reader.usage, attempt.reader.timings)
                if rendering is not None and slot is not None:
                    rendering.answered(engine, slot, differs, attempt.reader.usage)

    async def _fit(self, request: Request, deployment: Deployment, place: Place | None, *, asks: bool = True) -> None:
        """*place* is given back before a model is asked for a summary: it may need that very one."""
        waits = place.give_back if place is not None else nothing
        await self._known_fitting().fit(request, deployment, self._translations.able(deployment), waits, asks=asks)

    def cuts(self, request: Request, deployment: Deployment) -> bool:
        """Whether something of its conversation would be left out for *deployment*."""
        return self._known_fitting().cuts(request, deployment, self._translations.able(deployment))

    def _known_fitting(self) -> Fitting:
        if self._fitting is None:
            self._fitting = self._new_fitting()
        return self._fitting

    def narrower(self, asked: Asked, deployment: Deployment, error: GatewayError) -> bool:
        """Whether *deployment*, which has raised *error*, may take it if less is said of what was said before."""
        conversation = asked.request.conversation
        if conversation is None or self._fitting is None or not says_too_long(error):
            return False
        return isinstance(error, UpstreamRefused) and self._fitting.narrower(conversation, deployment, error.message)

    async def _learn(self, asked: Asked, attempt: Attempt, lease: Lease, rendering: Rendering) -> None:
        """Again, if this engine's template was not known before: only the engine itself can say what it takes."""
        deployment = attempt.deployment
        if await self._translations.learn(deployment, Address(*lease.address)):
            if asked.request.conversation is not None:
                await self._fit(asked.request, deployment, None, asks=False)  # a summary may need this one's memory
            translation = self._translations.of(asked, deployment, attempt.began)
            attempt.translation = translation
            attempt.body, _ = rendering.of(deployment.upstream.name, deployment.shared_name, translation.body)
            translation.body = b""

    async def _send(self, asked: Asked, attempt: Attempt, output: Output, lease: Lease | None) -> None:
        request, deployment, lesson = asked.request, attempt.deployment, asked.lesson
        translation, path = attempt.translation, attempt.path_of(request)
        own = self._headers_of(deployment.name, asked.route.policy)
        if translation is not None and translation.answered(output, own):
            return
        body: Sequence[Body] = [attempt.body]
        if translation is None:
            body = for_model(deployment.model, request, attempt.body)
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
                if isinstance(refused, UpstreamRefused) and refused.sees_nothing:
                    error = InvalidRequest(f"the model of {deployment.name} takes no images and no sound")
                    error.retryable = True  # another one may
                    raise error from refused
                if translation is not None:
                    translation.explain(refused)
                else:
                    blame(request, refused)
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
            key = deployment.name, request.path, streamed
            await relay(
                reply,
                output,
                reader,
                own,
                partial(self._answers, attempt),
                streamed=streamed,
                hold_bytes=limits.reply_hold_bytes,
                event_bytes=limits.event_bytes,
                any_kind=request.path in request.dialect.any_kind,
                mending=None if key in self._right else self._mending(attempt, request, key),
            )
        finally:
            opened.close()

    def _mending(
        self, attempt: Attempt, request: Request, key: tuple[str, str, bool]
    ) -> Callable[[bytes], Mender | None]:
        """For replies of which none has been right yet, by *key*."""
        streamed = attempt.streamed
        tokens = round(attempt.sent.prompt_tokens)

        def mending(first: bytes) -> Mender | None:
            found = request.dialect.mender(
                request.path, streamed, first, lambda: self._translations.head(request, tokens)
            )
            if found is None:
                self._right.add(key)
            return found

        return mending

    async def _deliver(
        self,
        translation: Translation | EmbedTranslation,
        attempt: Attempt,
        reply: Reply,
        output: Output,
        own: Headers,
    ) -> None:
        attempt.reader = translation
        await translation.deliver(reply, output, own, lambda: self._answers(attempt))
        if translation.observer is not None:
            attempt.reader = watched = Watched(translation, translation.observer)
            watched.end()

    async def _count(
        self, asked: Asked, deployment: Deployment, output: Output, place: Place | None, contender: Contender | None
    ) -> None:
        """Asked of the upstream where it counts, an estimate elsewhere. Raises `InvalidRequest`."""
        if place is not None:
            place.give_back()
        tokens, estimated = await self._translations.count(asked, deployment)
        own = self._headers_of(deployment.name, asked.route.policy)
        if estimated:
            own = [*own, (b"x-moltbot-estimated", b"input_tokens")]
        if contender is None or contender.claim():
            output.whole(200, [JSON, *own], asked.request.dialect.count_reply(tokens))

    def _answers(self, attempt: Attempt) -> bool:
        """The first byte is about to go to the caller. False: it must not."""
        if attempt.streamed or attempt.sent.tried:
            self._ledger.answering(attempt)
        return attempt.contender is None or attempt.contender.claim()

    def _headers_of(self, name: str, policy: str) -> Headers:
        own = self._headers.get((name, policy))
        if own is None:
            own = [(b"x-moltbot-deployment", name.encode()), (b"x-moltbot-policy", policy.encode())]
            self._headers[name, policy] = own
        return own


def nothing() -> None:
    """Where there is nothing to be given back."""
