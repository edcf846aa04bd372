"""What the router knows right now, for people: every alias, who may answer for it, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moltbot_edge.core.catalog import Catalog, Deployment, Route
from moltbot_edge.core.scoreboard import Standing
from moltbot_edge.gateway.rounds import Rounds
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.upstream.chat import Upstreams
from moltbot_edge.upstream.pool import Pool


def state(
    catalog: Catalog,
    standings: Standings,
    upstreams: Upstreams,
    rounds: Rounds,
    engines: Mapping[str, str],
    now: float,
) -> dict[str, Any]:
    """Fit for JSON. *engines* are states by name. *now* is `time.monotonic`; times are seconds from now, or ago.

    Where a deployment is ``out``, ``cooling_s`` says for how long yet; null while it is a probe that has to find it.
    ``retries_left`` and ``hedges_left`` are requests that may be asked once more right now.
    """
    return {
        "aliases": [_alias(route, standings, engines, now) for route in catalog.routes.values()],
        "upstreams": [_upstream(pool) for pool in upstreams.pools()],
        "retries_left": int(rounds.retries.left),
        "hedges_left": None if rounds.hedging is None else int(rounds.hedging.allowance.left),
    }


def _upstream(pool: Pool) -> dict[str, Any]:
    idle, busy, waiting = pool.counts
    return {"upstream": pool.name, "at_once": pool.limit, "busy": busy, "idle": idle, "waiting": waiting}


def _alias(route: Route, standings: Standings, engines: Mapping[str, str], now: float) -> dict[str, Any]:
    return {
        "alias": route.alias,
        "policy": route.policy,
        "attempts": route.attempts,
        "fallbacks": route.fallbacks,
        "context_fallbacks": route.context_fallbacks,
        "leave_lan": route.leave_lan,
        "deployments": [_deployment(one, standings.of(one.name), engines, now) for one in route.deployments],
    }


def _deployment(deployment: Deployment, standing: Standing, engines: Mapping[str, str], now: float) -> dict[str, Any]:
    speed, health = standing.speed, standing.health
    upstream = deployment.upstream
    return {
        "deployment": deployment.name,
        "model": deployment.model,
        "upstream": upstream.name,
        "dialect": upstream.dialect,
        "file": upstream.model_file,
        "engine": engines.get(upstream.name) if upstream.model_file is not None else None,
        "weight": deployment.weight,
        "context_tokens": deployment.context_tokens,
        "private": deployment.private,
        "in_flight": standing.in_flight,
        "answered": standing.answered,
        "failed": standing.failed,
        "success": round(standing.success(now), 3),
        "out": health.out,
        "cooling_s": None if health.unreached else round(max(health.rest_until - now, 0.0), 1) if health.out else 0.0,
        "being_tried": health.trials > 0,
        "ejections": health.times,
        "seen_s_ago": None if standing.last_seen is None else round(now - standing.last_seen, 1),
        "wait_s": round(standing.wait_s(now), 3),
        "answers_learned_from": speed.lessons,
        "fixed_s": round(speed.reading.base, 3) if speed.known else None,
        "prefill_tokens_per_s": round(speed.prefill_rate, 1) or None,
        "decode_tokens_per_s": round(speed.decode_rate, 1) or None,
        "reply_s": round(speed.reply_s, 3) if speed.known else None,
        "reply_tokens": round(speed.output_tokens) or None,
        "cached_share": round(speed.cache_hits, 2),
        "slower_than_usual": round(speed.slow_by(now), 2),
    }
