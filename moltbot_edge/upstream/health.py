"""Is a machine there? One question that costs it nothing: never a completion, and never an engine of this board.

Source: ``GET /health`` of llama-server (503 while it loads), vLLM and others; OpenAI's ``GET /v1/models``; Ollama's
``GET /api/version``. A 404 says that something answers, but perhaps only a proxy: so the next path is asked too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from moltbot_edge.core.catalog import Upstream
from moltbot_edge.core.errors import ClosedUnanswered, InvalidReply, TruncatedReply, Unreachable, UpstreamTimeout
from moltbot_edge.upstream.chat import Upstreams
from moltbot_edge.upstream.pool import Pool

ASK_S: Final = 5.0  # for one path; a board that loads a model from an SD card is slow at everything
UNKNOWN_PATH: Final = frozenset({404, 405, 500, 501})
NOT_READY: Final = frozenset({502, 503, 504})  # it loads, or is a proxy before nothing


class Found(StrEnum):
    UP = "up"
    NOT_READY = "not-ready"  # it answers, and says no
    UNREACHABLE = "unreachable"  # nothing accepts a connection
    SILENT = "silent"  # something does, and says nothing


class Probes:
    """Remembers of each upstream which path it knows."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._known: dict[str, str] = {}

    async def ask(self, upstream: Upstream) -> Found:
        """On a connection of its own, which is closed at once. Cancelled, too."""
        known = self._known.get(upstream.name)
        pool = self._upstreams.probing_pool(upstream)
        try:
            for path in paths(upstream) if known is None else (known,):
                try:
                    async with asyncio.timeout(ASK_S):
                        status = await self._status(pool, upstream, path)
                except Unreachable:
                    return Found.UNREACHABLE
                except (UpstreamTimeout, TimeoutError):
                    return Found.SILENT
                except (ClosedUnanswered, InvalidReply, TruncatedReply):
                    continue  # it accepts connections, and perhaps another path is answered
                if status not in UNKNOWN_PATH:
                    self._known[upstream.name] = path
                    return Found.NOT_READY if status in NOT_READY else Found.UP
            self._known.pop(upstream.name, None)
            return Found.UP  # as far as can be told without asking for what costs
        finally:
            pool.close()

    async def _status(self, pool: Pool, upstream: Upstream, path: str) -> int:
        reply = await pool.send([self._upstreams.probing_head(upstream, path)])
        try:
            return reply.status
        finally:
            reply.close()


def paths(upstream: Upstream) -> Sequence[str]:
    """What may be asked for, the surest first; from the root of its address."""
    models = f"{upstream.base_path}/models"
    match upstream.dialect:
        case "ollama":
            return ("/api/version", models)
        case "anthropic-messages":
            return (models,)
        case _:
            return (f"{upstream.base_path.removesuffix('/v1')}/health", models, "/api/version")
