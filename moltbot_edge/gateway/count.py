"""How many tokens a request has, asked of an upstream in another dialect than the caller's. Imported when needed.

llama-server counts a chat as it would read it: its template, its tools. Whoever does not know the path is asked once.
A model of this board is not loaded for it: what it would have counted is estimated then, as everybody else's.
"""

from __future__ import annotations

from typing import Final

import msgspec

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import EngineFailed, Overloaded, UpstreamError
from moltbot_edge.core.head import Body
from moltbot_edge.core.lease import Lease, Wish
from moltbot_edge.gateway.asked import CHAT
from moltbot_edge.gateway.engines import Engines
from moltbot_edge.upstream.chat import Upstreams
from moltbot_edge.upstream.wire import Address

PATH: Final = f"{CHAT}/input_tokens"
ANSWER_BYTES: Final = 64 * 1024  # a count is a line; a whole chat is none
FOR_GOOD: Final = frozenset({400, 404, 405, 501})  # what it means not to know the path


class _Counted(msgspec.Struct):
    input_tokens: int


_counted = msgspec.json.Decoder(_Counted).decode


class Counts:
    def __init__(self, upstreams: Upstreams, engines: Engines) -> None:
        self._upstreams = upstreams
        self._engines = engines
        self._without: set[str] = set()  # upstreams that do not count

    async def count(self, deployment: Deployment, path: str, body: Body) -> int | None:
        """Of the chat that *body* would be at *path*; None where *deployment* cannot say it now."""
        upstream = deployment.upstream
        if path != CHAT or upstream.name in self._without:
            return None
        try:
            if upstream.model_file is None:
                return await self._asked(deployment, None, body)
            if self._engines.states().get(upstream.name) != "ready":
                return None
            async with self._engines.lease(upstream.name, Wish((), len(body))) as lease:
                return await self._asked(deployment, lease, body)
        except (UpstreamError, EngineFailed, Overloaded):
            return None

    async def _asked(self, deployment: Deployment, lease: Lease | None, body: Body) -> int | None:
        at = None if lease is None else Address(*lease.address)
        pool, pieces = self._upstreams.request(deployment, at, PATH, b"", [body])
        reply = await pool.send(pieces)
        try:
            if reply.status != 200:
                if reply.status in FOR_GOOD:
                    self._without.add(deployment.upstream.name)
                return None
            return _counted(await reply.read(ANSWER_BYTES)).input_tokens
        except UNREADABLE:
            self._without.add(deployment.upstream.name)
            return None
        finally:
            reply.close()
