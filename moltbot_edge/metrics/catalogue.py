"""Every metric there is: name, help, labels, buckets. A typo is a type error, because each is an attribute.

Names follow prometheus.io, "Metric and label naming": base units, ``_total`` for what only rises. An attribute is
the metric's name without ``moltbot_`` and ``_total``. Values of labels come from the config or from a closed list
in the help; what a caller writes never becomes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moltbot_edge.metrics.instruments import SERIES_LIMIT, Counter, Family, Gauge, Histogram

# From a cached token on a LAN to a Pi that reads a long prompt; two or three to a decade, as prefill times scatter.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

# From a store in memory to a worn card that waits for itself.
STORE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Around 1, where a prediction is right; 0.8 to 1.25 is within a fifth.
RATIOS = (0.1, 0.25, 0.5, 0.67, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)


class Metrics:
    """One of each; `families` gives all of them. Made once by whoever joins the parts, and handed to them."""

    def __init__(self, series_limit: int = SERIES_LIMIT) -> None:
        dropped = Counter(
            "moltbot_metrics_series_dropped_total",
            "Series that share the label `other` as their metric has too many; counted at each asking.",
        )
        folded = dropped.cell()

        def counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(name, help, labels, limit=series_limit, folded=folded)

        def gauge(name: str, help: str, *labels: str) -> Gauge:
            return Gauge(name, help, labels, limit=series_limit, folded=folded)

        def histogram(name: str, help: str, bounds: Sequence[float], *labels: str) -> Histogram:
            return Histogram(name, help, labels, bounds=bounds, limit=series_limit, folded=folded)

        # What callers see.
        self.requests = counter(
            "moltbot_requests_total",
            "Requests answered, by the caller's dialect, the alias asked for, and the HTTP status.",
            *("dialect", "model", "status"),
        )
        self.request_seconds = histogram(
            "moltbot_request_seconds",
            "Seconds from a request's head to the last byte of its reply.",
            SECONDS,
            "model",
        )
        self.refused = counter(
            "moltbot_refused_total",
            "Requests refused before any upstream was asked, by the error's code: invalid_api_key, body_too_large, ...",
            "reason",
        )
        self.callers_gone = counter(
            "moltbot_callers_gone_total",
            "Callers that left before their reply was whole, by phase: body, waiting, streaming.",
            "phase",
        )
        self.pings = counter("moltbot_pings_total", "Keep-alive comments sent on silent streams.")
        self.connections = gauge("moltbot_connections", "Connections of callers that are open.")
        self.bodies_bytes = gauge("moltbot_bodies_bytes", "Bytes of request bodies in memory.")
        self.bodies_limit_bytes = gauge("moltbot_bodies_limit_bytes", "Bytes of request bodies that may be in memory.")

        # What deployments do.
        self.attempts = counter(
            "moltbot_attempts_total",
            "Requests sent to a deployment, by outcome: ok, or the error's code.",
            *("deployment", "outcome"),
        )
        self.first_byte_seconds = histogram(
            "moltbot_first_byte_seconds",
            "Seconds from sending a request to a deployment to the first byte of its reply.",
            SECONDS,
            "deployment",
        )
        self.tokens = counter(
            "moltbot_tokens_total",
            "Tokens that deployments reported, by kind: input, output, and cached, which input holds too.",
            *("deployment", "kind"),
        )
        self.in_flight = gauge("moltbot_in_flight", "Requests that a deployment is working on.", "deployment")

        # What the router decides.
        self.candidates = gauge(
            "moltbot_candidates",
            "Deployments of a model with several that could be asked at its last request; the others cool down.",
            "model",
        )
        self.decisions = counter(
            "moltbot_decisions_total",
            "Requests sent to one of several deployments, by the route's policy and the reason: policy (its first"
            " choice), next (the one before failed), left (no other could be asked), unordered (the policy failed),"
            " room (those before were full), hedge (the one before is late); of a kept conversation stays (with who"
            " holds it) or moves.",
            *("model", "policy", "reason"),
        )
        self.fallbacks = counter(
            "moltbot_fallbacks_total",
            "Requests for a model for which another was asked, by both names and the reason: failed, too-long,"
            " out (all of its deployments are left out after failures).",
            *("model", "fallback", "reason"),
        )
        self.first_token_predicted_ratio = histogram(
            "moltbot_first_token_predicted_ratio",
            "Predicted seconds to a stream's first event, as a multiple of the measured ones.",
            RATIOS,
            "deployment",
        )

        # Who is left out, and how it comes back.
        self.ejections = counter(
            "moltbot_ejections_total",
            "Deployments left out after failures, by the reason: silent (nothing came back), failing (many errors in a"
            " row), asked (its own wish, by Retry-After).",
            *("deployment", "reason"),
        )
        self.probes = counter(
            "moltbot_probes_total",
            "Requests that ask a machine only whether it is there, by what was found: up, not-ready,"
            " unreachable, silent.",
            *("upstream", "result"),
        )
        self.retries = counter(
            "moltbot_retries_total",
            "Requests that were asked again after a failure, by how: elsewhere, again (the same deployments, after a"
            " pause), over-budget (they were not).",
            *("model", "how"),
        )
        self.hedges = counter(
            "moltbot_hedges_total",
            "Requests asked of a second machine while the first was late, by outcome: started, and of those won, lost,"
            " failed (neither answered); no-room and over-budget were not started.",
            *("model", "outcome"),
        )

        self.lessons = counter(
            "moltbot_lessons_total",
            "Requests of which something showed how good the reply was, by the alias and the sign: goes-on,"
            " asked-again, rephrased, asked-elsewhere, empty, broken-tool-call, cut-off, refused, thumb-up, thumb-down,"
            " thumb-taken-back.",
            *("model", "sign"),
        )

        # The connections to them.
        self.upstream_connections = gauge(
            "moltbot_upstream_connections",
            "Connections open to an upstream, by state: idle, busy.",
            *("upstream", "state"),
        )
        self.upstream_waiting = gauge(
            "moltbot_upstream_waiting", "Requests waiting for a connection to an upstream.", "upstream"
        )
        self.upstream_limit = gauge(
            "moltbot_upstream_limit",
            "Requests that an upstream may be sent at once, learned from its refusals.",
            "upstream",
        )
        self.stale_retries = counter(
            "moltbot_stale_retries_total",
            "Requests sent again because the upstream had closed the pooled connection.",
            "upstream",
        )

        # The engines of this board.
        self.engine_state = gauge(
            "moltbot_engine_state",
            "1 for the state that an engine is in, 0 for those that it was in.",
            "model",
            "state",
        )
        self.engine_starts = counter("moltbot_engine_starts_total", "Engine processes started.", "model")
        self.engine_exits = counter("moltbot_engine_exits_total", "Engine processes that ended, however.", "model")
        self.engines_budget_bytes = gauge("moltbot_engines_budget_bytes", "Bytes that all engines may take together.")
        self.engine_bytes = gauge(
            "moltbot_engine_bytes",
            "Bytes of an engine, by kind: predicted (from its model), expected (as learned), measured (now).",
            *("model", "kind"),
        )
        self.engine_requests = gauge(
            "moltbot_engine_requests", "Requests for an engine, by state: waiting, serving.", *("model", "state")
        )
        self.engine_wait_seconds = histogram(
            "moltbot_engine_wait_seconds",
            "Seconds from a request's asking for an engine to its getting it.",
            SECONDS,
            "model",
        )
        self.engine_evictions = counter(
            "moltbot_engine_evictions_total",
            "Engine processes let go, by reason: room (for another), turn (for who had waited too long), ttl, asked,"
            " grown (past the budget), memory (that the machine lacks), stuck. A swap is one of the first two.",
            *("model", "reason"),
        )
        self.engine_refusals = counter(
            "moltbot_engine_refusals_total",
            "Requests refused an engine, by reason: too-large (for the budget), memory (lacking), queue (too long).",
            *("model", "reason"),
        )

        # What engines leave behind on disk.
        self.kv_bytes = gauge("moltbot_kv_bytes", "Bytes of saved caches of engines.")
        self.kv_limit_bytes = gauge("moltbot_kv_limit_bytes", "Bytes that saved caches may take.")
        self.kv_written_bytes = counter("moltbot_kv_written_bytes_total", "Bytes of caches written.")
        self.kv_written_day_bytes = gauge(
            "moltbot_kv_written_day_bytes", "Bytes of caches written within a day, as of the last save."
        )
        self.kv_written_limit_bytes = gauge(
            "moltbot_kv_written_limit_bytes", "Bytes of caches that may be written within a day."
        )
        self.kv_actions = counter(
            "moltbot_kv_actions_total",
            "Caches of requests saved and loaded, by action and outcome: save saved, failed, no_room, overtaken;"
            " load loaded, failed, broken, left, and then proved or disproved by the reply.",
            *("model", "action", "outcome"),
        )

        # Conversations that are kept.
        self.session_turns = counter(
            "moltbot_session_turns_total",
            "Requests answered within a session, by outcome: kept, or for which error's code their turn was not:"
            " session_store_full, session_too_large, ...",
            "outcome",
        )
        self.session_turns_left_out = counter(
            "moltbot_session_turns_left_out_total",
            "Turns left out of requests so that these fit a model's context, by how: dropped, summarised.",
            "how",
        )
        self.session_wait_seconds = histogram(
            "moltbot_session_wait_seconds",
            "Seconds that a request waited until it had its session for itself; refused ones are in it too.",
            SECONDS,
        )
        self.session_memory_bytes = gauge(
            "moltbot_session_memory_bytes", "Bytes of memory set aside for the conversations at work."
        )
        self.session_memory_limit_bytes = gauge(
            "moltbot_session_memory_limit_bytes",
            "Bytes of memory from which on no further conversation is let in; one may go over it.",
        )
        self.session_store_seconds = histogram(
            "moltbot_session_store_seconds",
            "Seconds that the store of sessions took, by action: load, append, add, delete, list, stats, compact.",
            STORE_SECONDS,
            "action",
        )
        self.session_store_troubles = counter(
            "moltbot_session_store_troubles_total",
            "Times that the store began to refuse requests, by the error's code: session_store_full,"
            " session_store_read_only, session_store_locked, session_store_damaged, session_store_unreachable.",
            "code",
        )
        self.session_store_well = gauge(
            "moltbot_session_store_well", "1 while sessions can be kept, 0 while their store is in trouble."
        )
        self.session_store_bytes = gauge(
            "moltbot_session_store_bytes", "Bytes that all sessions take; 0 where the store does not know: redis."
        )
        self.session_store_limit_bytes = gauge(
            "moltbot_session_store_limit_bytes", "Bytes that all sessions may take; not of redis."
        )

        # The gateway itself.
        self.build_info = gauge("moltbot_build_info", "The version that runs; 1 always.", "version")
        self.metrics_series_dropped = dropped
        self.process_resident_memory_bytes = gauge(
            "process_resident_memory_bytes", "Bytes of memory that are resident."
        )
        self.process_cpu_seconds = counter("process_cpu_seconds_total", "Seconds of CPU used, user and system.")
        self.process_open_fds = gauge("process_open_fds", "File descriptors open.")
        self.process_max_fds = gauge("process_max_fds", "File descriptors that may be open.")
        self.process_start_time_seconds = gauge(
            "process_start_time_seconds", "Seconds since 1970 at which the process started."
        )

    def families(self) -> list[Family[Any]]:
        return [family for family in vars(self).values() if isinstance(family, Family)]
