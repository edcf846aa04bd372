"""``/admin``: what the gateway knows of itself, as JSON, for whoever runs it. A key needs ``admin: true``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from moltbot_edge.core.errors import BodyTooLarge
from moltbot_edge.server.auth import Auth


class RouterEndpoint:
    """``GET /admin/router``: *state* tells of every alias who may answer, and what is known of each.

    ``POST /admin/router/explain``: *explain* says of a request of a key where it would go, and why; of *body_bytes* at
    most.
    """

    def __init__(
        self,
        auth: Auth,
        state: Callable[[], object],
        explain: Callable[[bytes, str], Awaitable[object]],
        body_bytes: int,
    ) -> None:
        self._auth = auth
        self._state = state
        self._explain = explain
        self._body_bytes = body_bytes

    async def get(self, request: Request) -> Response:
        self._auth.holder(request.headers.raw).check_admin()
        return Response(msgspec.json.encode(self._state()), media_type="application/json")

    async def explain(self, request: Request) -> Response:
        holder = self._auth.holder(request.headers.raw)
        holder.check_admin()
        whole = bytearray()
        async for piece in request.stream():
            whole += piece
            if len(whole) > self._body_bytes:
                raise BodyTooLarge(f"the request's body is larger than {self._body_bytes} bytes (limits.body_bytes)")
        explained = await self._explain(bytes(whole), holder.name)
        return Response(msgspec.json.encode(explained), media_type="application/json")
