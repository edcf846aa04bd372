"""How the gateway is: ``/health`` (it serves), ``/ready`` (it has something to serve with), ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from moltbot_edge import __version__
from moltbot_edge.core.catalog import Catalog
from moltbot_edge.gateway.sessions import Sessions
from moltbot_edge.metrics import exposition, process
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.server.auth import Auth
from moltbot_edge.server.connection import Scope
from moltbot_edge.server.limits import BodyBudget
from moltbot_edge.server.reading import Told
from moltbot_edge.upstream.chat import Upstreams


class StatusEndpoints:
    """*engine_states* are by model; *read_engines* sets their gauges; *connections* counts the callers connected."""

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        auth: Auth,
        metrics: Metrics,
        budget: BodyBudget,
        upstreams: Upstreams,
        sessions: Sessions,
        engine_states: Callable[[], Mapping[str, str]],
        read_engines: Callable[[], None],
        connections: Callable[[], int],
    ) -> None:
        self._catalog = catalog
        self._auth = auth
        self._metrics = metrics
        self._budget = budget
        self._upstreams = upstreams
        self._sessions = sessions
        self._engine_states = engine_states
        self._read_engines = read_engines
        self._connections = connections
        metrics.build_info.cell(__version__).set(1)

    def health(self, scope: Scope) -> Told:
        return Told(b'{"status":"ok"}')

    def ready(self, scope: Scope) -> Told:
        """503 while there is no model to answer with; what a store of sessions lacks does not count, and is said."""
        models = len(self._catalog().names())
        ready = bool(self._catalog().routes)  # of patterns alone, there are no names
        trouble = self._sessions.trouble  # its code alone: what is amiss where is for the log
        sessions = "ok" if trouble is None else trouble.code or trouble.kind
        said = {"status": "ready" if ready else "no models", "models": models, "sessions": sessions}
        return Told(msgspec.json.encode(said), 200 if ready else 503)

    def metrics(self, scope: Scope) -> Told:
        self._auth.holder(scope["headers"])
        self._read_gauges()
        text = b"".join(exposition.pieces(self._metrics.families()))
        return Told(text, kind=exposition.CONTENT_TYPE)

    def _read_gauges(self) -> None:
        metrics = self._metrics
        process.read_into(metrics)
        metrics.connections.cell().set(self._connections())
        metrics.bodies_bytes.cell().set(self._budget.held_bytes)
        metrics.bodies_limit_bytes.cell().set(self._budget.limit_bytes)
        for pool in self._upstreams.pools():
            idle, busy, waiting = pool.counts
            metrics.upstream_connections.cell(pool.name, "idle").set(idle)
            metrics.upstream_connections.cell(pool.name, "busy").set(busy)
            metrics.upstream_waiting.cell(pool.name).set(waiting)
            metrics.upstream_limit.cell(pool.name).set(pool.limit)
            metrics.stale_retries.cell(pool.name).value = pool.stale_retries
        self._sessions.read()
        self._read_engines()
        states = self._engine_states()
        for (model, state), cell in metrics.engine_state.series():
            cell.set(float(states.get(model) == state))
        for model, state in states.items():
            metrics.engine_state.cell(model, state).set(1)
