"""Path -> endpoint. The model endpoints are called straight; everything else is a small Starlette application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from moltbot_edge.core.dialect import Dialect
from moltbot_edge.core.errors import GatewayError, InvalidRequest, MethodNotAllowed, UnknownPath
from moltbot_edge.server.call import Message
from moltbot_edge.server.chat import ChatEndpoint
from moltbot_edge.server.connection import Scope
from moltbot_edge.server.models import ModelsEndpoint
from moltbot_edge.server.status import StatusEndpoints

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


class App:
    """*dialect* writes the errors of what is no model endpoint."""

    def __init__(
        self, chat: ChatEndpoint, models: ModelsEndpoint, status: StatusEndpoints, dialect: Dialect, lifespan: Lifespan
    ) -> None:
        self._chat = chat
        self._chat_paths = frozenset(chat.dialects)
        self._rest = Starlette(
            routes=[
                Route("/health", status.health),
                Route("/ready", status.ready),
                Route("/metrics", status.metrics),
                Route("/v1/models", models.all),
                Route("/v1/models/{name:path}", models.one),
            ],
            exception_handlers=dict.fromkeys((GatewayError, HTTPException, Exception), _said_in(dialect)),
            lifespan=lifespan,
        )
        self._rest.router.redirect_slashes = False  # it would believe the caller's Host

    def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> Awaitable[None]:
        if scope["type"] == "http" and scope["path"] in self._chat_paths:
            return self._chat(scope)
        return self._rest(scope, receive, send)


def _said_in(dialect: Dialect) -> Callable[[Request, Exception], Response]:
    def handler(request: Request, error: Exception) -> Response:
        said = _translated(request, error)
        return Response(dialect.error(said), said.status, media_type="application/json")

    return handler


def _translated(request: Request, error: Exception) -> GatewayError:
    if isinstance(error, GatewayError):
        return error
    if not isinstance(error, HTTPException):
        return GatewayError("the gateway failed; its log says why")
    status = error.status_code
    if status == 404:
        return UnknownPath(f"there is nothing at {request.url.path}; the README lists the endpoints")
    if status == 405:
        return MethodNotAllowed(f"{request.url.path} does not take {request.method}")
    return InvalidRequest(str(error))
