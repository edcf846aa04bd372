"""Settings -> the running gateway. The only place where parts are joined."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from moltbot_edge.config.catalog import catalog_of, engines_of
from moltbot_edge.config.places import can_be_kept, sessions_where
from moltbot_edge.config.schema import MIB, Config, Limits, Router
from moltbot_edge.config.schema import Sessions as SessionSettings
from moltbot_edge.core.budget import Terms
from moltbot_edge.core.catalog import AUTO, Catalog, Upstream
from moltbot_edge.core.dialect import Dialect
from moltbot_edge.core.errors import GatewayError
from moltbot_edge.core.routing import Policy
from moltbot_edge.dialects.paths import PATHS
from moltbot_edge.gateway.allowance import Allowance
from moltbot_edge.gateway.asked import ExchangeLimits
from moltbot_edge.gateway.attempt import Attempts
from moltbot_edge.gateway.dialects import Dialects
from moltbot_edge.gateway.directory import Directory, Find
from moltbot_edge.gateway.exchange import Exchange
from moltbot_edge.gateway.experience import Experience
from moltbot_edge.gateway.keeping import Keeping
from moltbot_edge.gateway.noise import Noise
from moltbot_edge.gateway.plan import Planner
from moltbot_edge.gateway.rounds import Rounds
from moltbot_edge.gateway.sessions import SessionLimits, Sessions
from moltbot_edge.gateway.state import state
from moltbot_edge.gateway.watch import Watch
from moltbot_edge.kernel.registry import Registry
from moltbot_edge.local.absent import NoEngines
from moltbot_edge.local.store import found_models
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.network.certificates import Certificates
from moltbot_edge.network.names import Names
from moltbot_edge.server.app import ADMIN, COMPACT, CONVERSATIONS, FEEDBACK, RESPONSES, SESSIONS, App
from moltbot_edge.server.auth import Auth, KeyHolder
from moltbot_edge.server.callers import Callers
from moltbot_edge.server.chat import ChatEndpoint
from moltbot_edge.server.connection import FIRST_READ_BYTES, READ_BYTES, Asgi, Connection, ConnectionSettings
from moltbot_edge.server.limits import BodyBudget
from moltbot_edge.server.listener import Listener, bound_sockets, callers_tls
from moltbot_edge.server.models import ModelsEndpoint
from moltbot_edge.server.status import StatusEndpoints
from moltbot_edge.upstream.chat import Upstreams
from moltbot_edge.upstream.health import Probes
from moltbot_edge.upstream.ticker import Ticker
from moltbot_edge.upstream.wire import WireLimits

RETRIES_SAVED = 512  # twice `limits.connections`: all requests of a box that dies, and of another
HEDGES_SAVED = 5  # a hundred requests' worth: more at once would say that everything is late
GRACE_S = 25  # for replies under way when told to stop; systemd gives 90 s, Docker 10 s and then kills

if TYPE_CHECKING:
    from moltbot_edge.core.store import Opens, Store
    from moltbot_edge.gateway.fit import Fitting
    from moltbot_edge.gateway.foresight import Foresights
    from moltbot_edge.gateway.rendering import Rendering
    from moltbot_edge.local.supervisor import Supervisor
    from moltbot_edge.upstream.kinds import Found

log = logging.getLogger(__name__)


class Gateway:
    """The joined parts, ready to serve. `catalog` is what callers can ask for, `stores` where its files were sought."""

    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        stores: Sequence[Path],
        listener: Listener,
        on_started: Callable[[Gateway, str], None],
    ) -> None:
        self.catalog = catalog
        self.stores = tuple(stores)
        self.needs_key = bool(config.keys)
        self.sessions_where = sessions_where(config.sessions)
        self.keeps_sessions = can_be_kept(config.sessions)
        self.has_engines = any(not one.engine_command for one in engines_of(catalog).values())  # of llama-server
        self.callers = listener.callers
        self._server = config.server
        self._listener = listener
        self._on_started = on_started

    def run(self) -> None:
        """Until SIGTERM or Ctrl-C. Raises `server.listener.CannotListen`."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._until_a_signal())

    async def _until_a_signal(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, lambda: self.hurry() if self.stopping else self.stop())
        await self.serve()

    async def serve(self, sockets: Sequence[socket.socket] = ()) -> None:
        """Until `stop`. *sockets* are bound already; without them, they are the configuration's."""
        tls = self._server.tls
        context = callers_tls(tls.cert, tls.key) if tls is not None else None
        sockets = sockets or bound_sockets(self._server.host, self._server.port)
        host, port = sockets[0].getsockname()[:2]
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        url = f"{'https' if context is not None else 'http'}://{shown}:{port}"
        await self._listener.listen(sockets, context, lambda: self._on_started(self, url))

    @property
    def stopping(self) -> bool:
        return self._listener.stopping

    def stop(self) -> None:
        """Replies under way are finished first."""
        self._listener.stop()

    def hurry(self) -> None:
        """Stop without waiting for replies; engines are ended all the same."""
        self._listener.hurry()


def assemble(
    config: Config,
    registry: Registry,
    stores: Sequence[Path],
    *,
    environment: Mapping[str, str],
    nearby: Sequence[Upstream] = (),
    on_started: Callable[[Gateway, str], None] = lambda gateway, url: None,
) -> Gateway:
    """Join the parts that *config* names. Raises `kernel.registry.PluginError` for a plug-in that is not right.

    *environment* is the process's own, from which engines get what they need, and which may say where certificates
    are. *nearby* are where engines may be that no configuration names. *on_started* is told the URL once callers can
    come.
    """
    catalog = catalog_of(config, found_models(stores), stores)
    metrics = Metrics()
    ticker = Ticker()
    noise = Noise()
    dialects = _dialects(catalog, registry)
    openai = dialects.made("openai-chat")
    upstreams = Upstreams(dialects.named, _wire_limits(config.limits), ticker, Names(), Certificates(environment))

    def begin() -> Supervisor:
        """The first model of this board came while the gateway ran."""
        supervisor, attempts.rendering, end_of_engines = _own_engines(config, catalog, metrics, environment)
        planner.foresights = _foresights(supervisor, attempts)
        ends.append(end_of_engines)
        return supervisor

    engines, rendering, end_of_engines = _engines(config, catalog, metrics, environment, begin)
    ends = [end_of_engines]
    experience = Experience(
        config.router.recent_exchanges,
        secret=secrets.token_bytes(32),
        clock=time.time,
        new_id=lambda: f"ex-{secrets.token_hex(8)}",
        lessons=metrics.lessons,
    )
    watch = Watch(
        catalog,
        Probes(upstreams).ask,
        metrics,
        every_s=config.router.probe_s,
        silent_s=config.router.probe_silent_s,
        now=time.monotonic,
        chance=random.random,
    )
    standings = watch.standings
    exchange_limits = ExchangeLimits(
        ping_after_s=config.limits.ping_after_s,
        client_stall_s=config.limits.client_stall_s,
        reply_hold_bytes=config.limits.reply_hold_bytes,
        event_bytes=config.limits.event_bytes,
        translated_bytes=config.limits.translated_bytes,
    )
    directory = Directory(catalog, _finder(upstreams), nearby, config.router.policy)
    planner = Planner(
        _policies(config, catalog, registry),
        standings,
        experience,
        metrics,
        now=time.monotonic,
        chance=random.random,
        guarded=_guarded(catalog),
    )
    attempts = Attempts(
        dialects,
        upstreams,
        engines,
        standings,
        experience,
        metrics,
        exchange_limits,
        now=time.monotonic,
        clock=time.time,
        new_id=lambda: noise(12).hex(),
        fitting=lambda: _fitting(config, exchange, openai, metrics),
        rendering=rendering,
    )
    planner.cuts = attempts.cuts
    if not isinstance(engines, NoEngines):
        planner.foresights = _foresights(engines, attempts)
    rounds = _rounds(config.router, planner, attempts, metrics)
    sessions = Sessions(
        lambda: session_store(config.sessions, registry),
        sessions_where(config.sessions),
        _session_limits(config.sessions, config.limits),
        metrics,
        clock=time.time,
        now=time.monotonic,
        noise=noise,
    )
    exchange = Exchange(
        directory,
        dialects,
        planner,
        rounds,
        sessions,
        experience,
        metrics,
        ticker,
        exchange_limits,
        now=time.monotonic,
    )
    auth = Auth(
        [
            KeyHolder(
                key.name,
                bytes.fromhex(key.hash.removeprefix("sha256:")),
                None if key.models is None else tuple(key.models),
                key.admin,
            )
            for key in config.keys
        ]
    )
    limits = config.limits
    budget = BodyBudget(limits.bodies_bytes, limits.body_wait_s, limits.body_waiters)
    callers = Callers()
    kept_in = Path(config.router.experience) if config.router.experience is not None else None

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with engines, Keeping(experience, kept_in), watch, directory, sessions:
            yield
            upstreams.close()  # an engine that works for nobody any more ends sooner
        for end in ends:
            end()
        ticker.stop()

    app = App(
        ChatEndpoint(dialects, auth, exchange, budget, metrics, limits.body_bytes),
        ModelsEndpoint(lambda: directory.catalog, auth, int(time.time())),
        StatusEndpoints(
            lambda: directory.catalog,
            auth,
            metrics,
            budget,
            upstreams,
            sessions,
            engines.states,
            engines.read,
            lambda: len(callers.connections),
        ),
        functools.partial(
            _management,
            auth,
            experience,
            lambda: state(directory.catalog, standings, upstreams, rounds, engines.states(), time.monotonic()),
            lambda body, key: _explained(body, key, sessions, directory.catalog, dialects, planner),
            limits.body_bytes,
            openai,
            functools.partial(_own_models, auth, directory, engines, config, stores, environment, openai),
            functools.partial(_sessions, auth, sessions, budget, limits, openai),
        ),
        functools.partial(_as_ollama, directory, auth, dialects, engines.states, config.engines.context_tokens),
        openai,
    )
    buffer = memoryview(bytearray(READ_BYTES))
    settings = ConnectionSettings(ticker, buffer, buffer[:FIRST_READ_BYTES], limits.head_s, limits.callers, openai)
    listener = Listener(app, callers, functools.partial(Connection, settings, app, callers), lifespan, GRACE_S)
    return Gateway(config, catalog, stores, listener, on_started)


def session_store(settings: SessionSettings, registry: Registry) -> AbstractAsyncContextManager[Store]:
    """Not opened yet. Raises `kernel.registry.PluginError`."""
    from moltbot_edge.core.store import StoreOptions

    options = StoreOptions(
        clock=time.time,
        path=settings.path,
        url=settings.url,
        timeout_s=settings.timeout_s,
        size_bytes=settings.size_mb * MIB,
        session_bytes=settings.session_mb * MIB,
        waiters=settings.waiters,
    )
    opens: Opens = registry.build("store", settings.store)
    return _with_turns(opens(options), settings.waiters)


@asynccontextmanager
async def _with_turns(opening: AbstractAsyncContextManager[Store], waiters: int) -> AsyncIterator[Store]:
    """A plug-in's store that shares sessions with no other gateway need not know how requests wait for each other."""
    async with opening as store:
        if not hasattr(store, "held"):
            from moltbot_edge.stores.turnstile import Turnstile

            store.held = Turnstile(waiters).held  # type: ignore[method-assign]
        yield store


def _fitting(config: Config, exchange: Exchange, openai: Dialect, metrics: Metrics) -> Fitting:
    from moltbot_edge.gateway.fit import Fitting  # at the first request of a session
    from moltbot_edge.gateway.summaries import Summaries, SummarySettings

    said = config.sessions
    settings = SummarySettings(said.summary_model, said.summary_tokens, said.summary_prompt_tokens, said.summary_s)
    made = Summaries(settings, exchange.answer, openai, time.monotonic)
    return Fitting(config.engines.context_tokens, made, metrics)


def _session_limits(said: SessionSettings, limits: Limits) -> SessionLimits:
    return SessionLimits(
        said.wait_s if said.busy == "wait" else 0.0,
        said.session_mb * MIB,
        0 if said.store == "redis" else said.size_mb * MIB,
        said.keep_responses,
        said.at_work_mb * MIB,
        limits.body_wait_s,
        said.waiters,
        said.unreadable == "answer",
    )


def _guarded(catalog: Catalog) -> Mapping[str, int]:
    if not any(one.private for route in catalog.routes.values() for one in route.deployments):
        return {}
    from moltbot_edge.gateway.home import guarded

    return guarded(catalog.routes)


def _rounds(router: Router, planner: Planner, attempts: Attempts, metrics: Metrics) -> Rounds:
    hedging = None
    if router.hedge is not None:
        from moltbot_edge.gateway.hedging import Hedging

        extra = Allowance(Terms(router.hedge.share, 0.0, HEDGES_SAVED), time.monotonic)
        hedging = Hedging(router.hedge.after_s, extra, attempts, planner, metrics, time.monotonic)
    return Rounds(
        planner,
        attempts,
        Allowance(Terms(router.retry_share, router.retries_per_s, RETRIES_SAVED), time.monotonic),
        hedging,
        metrics,
        patience_s=router.retry_for_s,
        now=time.monotonic,
        chance=random.random,
    )


def _management(
    auth: Auth,
    experience: Experience,
    router: Callable[[], object],
    explain: Callable[[bytes, str], Awaitable[object]],
    body_bytes: int,
    dialect: Dialect,
    own_models: Callable[[], Asgi],
    sessions: Callable[[], Asgi],
) -> Asgi:
    from starlette.routing import Route  # it comes with these, at the first request to one of them

    from moltbot_edge.server.admin import RouterEndpoint
    from moltbot_edge.server.feedback import FeedbackEndpoint
    from moltbot_edge.server.management import Later, management

    own, kept = Later(own_models), Later(sessions)
    of_router = RouterEndpoint(auth, router, explain, body_bytes)
    routes = [
        Route(FEEDBACK, FeedbackEndpoint(auth, experience).post, methods=["POST"]),
        Route(f"{ADMIN}router", of_router.get),
        Route(f"{ADMIN}router/explain", of_router.explain, methods=["POST"]),
        Route(f"{ADMIN}models", own),
        Route(f"{ADMIN}models/{{rest:path}}", own),
        Route(SESSIONS, kept),
        Route(f"{SESSIONS}/{{rest:path}}", kept),
        Route(COMPACT, kept),
        Route(f"{RESPONSES}{{rest:path}}", kept),
        Route(CONVERSATIONS, kept),
        Route(f"{CONVERSATIONS}/{{rest:path}}", kept),
    ]
    return management(routes, dialect)


def _sessions(auth: Auth, sessions: Sessions, budget: BodyBudget, limits: Limits, dialect: Dialect) -> Asgi:
    from starlette.routing import Route

    from moltbot_edge.gateway.archive import Archive
    from moltbot_edge.gateway.entries import Entries
    from moltbot_edge.server.conversations import ConversationsEndpoints
    from moltbot_edge.server.kept import Reading
    from moltbot_edge.server.management import management
    from moltbot_edge.server.responses import ResponsesEndpoints
    from moltbot_edge.server.sessions import METHODS, SessionsEndpoints

    archive = Archive(sessions.store, sessions.new_name)
    reading = Reading(sessions)
    kept = SessionsEndpoints(auth, archive, reading, budget, limits.body_bytes, limits.client_stall_s)
    entries = Entries(sessions, reading.loaded, time.time)
    responses = ResponsesEndpoints(auth, reading, entries)
    conversations = ConversationsEndpoints(auth, reading, entries, sessions.new_id, budget, limits.body_bytes)
    routes = [
        Route(SESSIONS, kept.all),
        Route(f"{SESSIONS}/{{rest:path}}", kept.below, methods=METHODS),
        Route(COMPACT, kept.compact, methods=["POST"]),
        Route(f"{RESPONSES}{{rest:path}}", responses.below, methods=METHODS),
        Route(CONVERSATIONS, conversations.all, methods=["POST"]),
        Route(f"{CONVERSATIONS}/{{rest:path}}", conversations.below, methods=METHODS),
    ]
    return management(routes, dialect)


async def _explained(
    body: bytes, key: str, sessions: Sessions, catalog: Catalog, dialects: Dialects, planner: Planner
) -> object:
    from moltbot_edge.gateway.explanation import asked, explained_in_session  # for who asks

    return await explained_in_session(asked(body, dialects, key), sessions, catalog, dialects, planner)


def _own_models(
    auth: Auth,
    directory: Directory,
    engines: Supervisor | NoEngines,
    config: Config,
    stores: Sequence[Path],
    environment: Mapping[str, str],
    dialect: Dialect,
) -> Asgi:
    from starlette.routing import Route

    from moltbot_edge.gateway.own_models import OwnModels
    from moltbot_edge.server.management import management
    from moltbot_edge.server.own_models import OwnModelsEndpoints

    own = OwnModelsEndpoints(auth, OwnModels(directory, engines, config, stores, environment))
    all_of_them = f"{ADMIN}models"
    routes = [
        Route(all_of_them, own.all),
        Route(f"{all_of_them}/pull", own.pull, methods=["POST"]),
        Route(f"{all_of_them}/{{name:path}}/load", own.load, methods=["POST"]),
        Route(f"{all_of_them}/{{name:path}}/unload", own.unload, methods=["POST"]),
        Route(f"{all_of_them}/{{name:path}}", own.remove, methods=["DELETE"]),
    ]
    return management(routes, dialect)


def _as_ollama(
    directory: Directory, auth: Auth, dialects: Dialects, states: Callable[[], Mapping[str, str]], context_tokens: int
) -> Asgi:
    from moltbot_edge.server.ollama import OllamaEndpoints

    dialect = dialects.made("ollama")
    return OllamaEndpoints(lambda: directory.catalog, auth, dialect, states, context_tokens, int(time.time()))


def _dialects(catalog: Catalog, registry: Registry) -> Dialects:
    """Of the built-in ones, those that an upstream speaks are made now, the others when a caller speaks them."""
    plugged = {name: registry.build("dialect", name) for name in registry.plugged("dialect")}
    at = {path: name for name in registry.names("dialect") if name not in plugged for path in PATHS.get(name, ())}
    at |= {path: name for name, dialect in plugged.items() for path in dialect.paths}
    dialects = Dialects(at, lambda name: plugged.get(name) or registry.build("dialect", name))
    for route in catalog.routes.values():
        for deployment in route.deployments:
            dialects.named(deployment.upstream.dialect)
    return dialects


async def found_out(
    config: Config, registry: Registry, environment: Mapping[str, str]
) -> list[tuple[Upstream, Sequence[str], Found | GatewayError]]:
    """What each endpoint of *config* is, asked now, with the models that are configured for it."""
    catalog = catalog_of(config, {}, ())
    dialects = _dialects(catalog, registry)
    ticker = Ticker()
    find = _finder(Upstreams(dialects.named, _wire_limits(config.limits), ticker, Names(), Certificates(environment)))
    wanted: dict[Upstream, dict[str, None]] = {}
    for route in catalog.routes.values():
        for one in route.deployments:
            if one.upstream.model_file is None:
                wanted.setdefault(one.upstream, {})[one.model] = None

    async def told(upstream: Upstream, names: Sequence[str]) -> tuple[Upstream, Sequence[str], Found | GatewayError]:
        try:
            return upstream, names, await find(upstream, names)
        except GatewayError as error:
            return upstream, names, error

    try:
        return await asyncio.gather(*(told(upstream, list(names)) for upstream, names in wanted.items()))
    finally:
        ticker.stop()


def _finder(upstreams: Upstreams) -> Find:
    async def find(upstream: Upstream, wanted: Sequence[str]) -> Found:
        from moltbot_edge.upstream.discovery import Discovery  # not where every dialect is said

        return await Discovery(upstreams).find(upstream, wanted)

    return find


def _engines(
    config: Config,
    catalog: Catalog,
    metrics: Metrics,
    environment: Mapping[str, str],
    begin: Callable[[], Supervisor],
) -> tuple[Supervisor | NoEngines, Rendering | None, Callable[[], None]]:
    """As `_own_engines`, where there are any; *begin* is for when they come later."""
    if not engines_of(catalog):
        return NoEngines(begin), None, lambda: None
    return _own_engines(config, catalog, metrics, environment)


def _foresights(supervisor: Supervisor, attempts: Attempts) -> Foresights:
    from moltbot_edge.gateway.foresight import Foresights

    return Foresights(supervisor.foresees, attempts.trail)


def _own_engines(
    config: Config, catalog: Catalog, metrics: Metrics, environment: Mapping[str, str]
) -> tuple[Supervisor, Rendering, Callable[[], None]]:
    """The engines, what is done to prompts on their way there, and what is left to do once they have ended."""
    from moltbot_edge.gateway.rendering import Rendering
    from moltbot_edge.local.kv_folder import KvFolder, folder_for
    from moltbot_edge.local.kv_keeper import KvKeeper
    from moltbot_edge.local.launch import engine_model  # some twenty modules, for a board that runs models
    from moltbot_edge.local.supervisor import Supervisor
    from moltbot_edge.local.tally import Tally

    tally = Tally(metrics)
    said, log_of_engines = config.engines, logging.getLogger("moltbot_edge.local")
    folder = KvFolder(folder_for(said.kv_path, environment), said.kv_disk_mb * MIB, log_of_engines, time.time)
    keeper = KvKeeper(folder, said.kv_write_mb_per_day * MIB, metrics, log_of_engines, time.monotonic, time.time)
    supervisor = Supervisor(
        config.engines,
        {name: engine_model(upstream) for name, upstream in engines_of(catalog).items()},
        log=log_of_engines,
        environment=environment,
        keeper=keeper,
        on_change=tally.change,
        on_note=tally.note,
        on_read=tally.read,
    )
    return supervisor, Rendering(config.prompt.stabilise, time.monotonic), keeper.close


def _policies(config: Config, catalog: Catalog, registry: Registry) -> Mapping[str, Policy]:
    """Each alias's policy, by the alias. Those that share name and options still have each its own."""
    policies: dict[str, Policy] = {}
    for alias, route in catalog.routes.items():
        said = config.aliases.get(alias)
        options: Mapping[str, Any] = said.options if said is not None and not isinstance(said, str) else {}
        policies[alias] = registry.build("policy", route.policy, options)
    if AUTO not in policies:  # models may come while it runs
        policies[AUTO] = registry.build("policy", config.router.policy)
    return policies


def _wire_limits(limits: Limits) -> WireLimits:
    return WireLimits(**{name: getattr(limits, name) for name in WireLimits.__struct_fields__})
