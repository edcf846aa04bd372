"""Endpoints that only tell something: GET and HEAD, no body, a whole answer. Plain ASGI, as small as they are.

Starlette did this before, for 27 ms of the start and 2.9 MB of memory, most of it for what a few paths do not use:
forms, sessions, templates, and anyio's and http.client's worlds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from moltbot_edge.core.dialect import Dialect
from moltbot_edge.core.errors import GatewayError, MethodNotAllowed, UnknownPath
from moltbot_edge.server.call import Message
from moltbot_edge.server.connection import Scope

Send = Callable[[Message], Awaitable[None]]


class Told(NamedTuple):
    body: bytes
    status: int = 200
    kind: bytes = b"application/json"


Tell = Callable[[Scope], Told]
"""May raise a `GatewayError`, which is told in place of the answer."""


async def tell(scope: Scope, send: Send, what: Tell | None, dialect: Dialect) -> None:
    """Answer the request of *scope*; with None, there is nothing at its path. Errors are written in *dialect*."""
    try:
        if what is None:
            raise UnknownPath(f"there is nothing at {scope['path']}; the README lists the endpoints")
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{scope['path']} does not take {scope['method']}")
        told = what(scope)
    except GatewayError as error:
        told = Told(dialect.error(error), error.status)
    headers = [(b"content-type", told.kind), (b"content-length", b"%d" % len(told.body))]
    await send({"type": "http.response.start", "status": told.status, "headers": headers})
    await send({"type": "http.response.body", "body": told.body})
