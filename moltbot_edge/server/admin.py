"""``/admin``: what the gateway knows of itself, as JSON, for whoever runs it. A key needs ``admin: true``."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from moltbot_edge.server.auth import Auth


class RouterEndpoint:
    """``GET /admin/router``: *state* tells of every alias who may answer, and what is known of each."""

    def __init__(self, auth: Auth, state: Callable[[], object]) -> None:
        self._auth = auth
        self._state = state

    async def get(self, request: Request) -> Response:
        self._auth.holder(request.headers.raw).check_admin()
        return Response(msgspec.json.encode(self._state()), media_type="application/json")
