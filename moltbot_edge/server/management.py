"""What is asked seldom, by people and their tools: a Starlette application. Not chats, nor what is polled.

Starlette brings anyio and more, 2.3 MB of memory and some 30 ms: `app` has this made when the first such request
comes, so that a gateway that is only chatted with is without. What comes here, `app` decides by the path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from moltbot_edge.core.dialect import Dialect
from moltbot_edge.core.errors import GatewayError, InvalidRequest, MethodNotAllowed, UnknownPath
from moltbot_edge.server.connection import Asgi


def management(routes: Sequence[Route], dialect: Dialect) -> Starlette:
    """*dialect* writes the errors."""
    app = Starlette(
        routes=routes,
        exception_handlers=dict.fromkeys((GatewayError, HTTPException, Exception), _said_in(dialect)),
    )
    app.router.redirect_slashes = False  # it would believe the caller's Host
    return app


class Later:
    """An application that is made when its first request comes: its modules are many, and few ask."""

    def __init__(self, make: Callable[[], Asgi]) -> None:
        self._make = make
        self._made: Asgi | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._made is None:
            self._made = self._make()
        await self._made(scope, receive, send)


def _said_in(dialect: Dialect) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        said = _translated(request, error)
        allow = error.headers if isinstance(error, HTTPException) else None
        return Response(dialect.error(said), said.status, allow, media_type="application/json")

    return handler


def _translated(request: Request, error: Exception) -> GatewayError:
    if isinstance(error, GatewayError):
        return error
    if not isinstance(error, HTTPException):
        return GatewayError("the gateway failed; its log says why")
    if error.status_code == 404:
        return UnknownPath(f"there is nothing at {request.url.path}; the README lists the endpoints")
    if error.status_code == 405:
        return MethodNotAllowed(f"{request.url.path} does not take {request.method}")
    return InvalidRequest(str(error))
