"""What is asked seldom, by people and their tools: a Starlette application. Not chats, nor what is polled.

Starlette brings anyio and more, 2.3 MB of memory and some 30 ms: `app` has this made when the first such request
comes, so that a gateway that is only chatted with is without. What comes here, `app` decides by the path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from moltbot_edge.core.dialect import Dialect
from moltbot_edge.core.errors import BodyTooLarge, GatewayError, InvalidRequest, MethodNotAllowed, UnknownPath
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


def check_page(request: Request) -> None:
    """A page of another address may make a browser on this machine ask, which needs no key here: not for a change."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise InvalidRequest(f"a page of {origin} asks: only this gateway's own may")


async def body_of(request: Request, limit_bytes: int, what: str) -> bytes:
    """Raises `BodyTooLarge`, which says *what* it should be."""
    whole = bytearray()
    async for piece in request.stream():
        whole += piece
        if len(whole) > limit_bytes:
            raise BodyTooLarge(f"the body is larger than {limit_bytes} bytes: {what}")
    return bytes(whole)


def _said_in(dialect: Dialect) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        said = _translated(request, error)
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}  # Allow
        if said.retry_after_s is not None:
            headers["Retry-After"] = str(max(1, round(said.retry_after_s)))
        return Response(dialect.error(said), said.status, headers, media_type="application/json")

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
