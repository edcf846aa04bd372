"""``/v1/sessions``: conversations that are kept. Each key has its own; of another's it learns nothing.

``GET`` lists them, the newest first, and ``GET .../NAME`` shows the turns of one; ``DELETE``; ``POST .../NAME/fork``
begins another at one of its turns; ``GET .../NAME/export`` and ``POST .../import`` carry one away, as JSON lines. A
name is one piece of the path, in which a ``/`` is written ``%2F``. An administrator's key may say ``?owner=KEY``
everywhere, and lists everybody's with ``?owner=*``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidRequest, UnknownPath
from moltbot_edge.core.record import LINES
from moltbot_edge.core.session import Kept, checked_name
from moltbot_edge.gateway.archive import Archive, exported, page, unknown
from moltbot_edge.server.app import SESSIONS
from moltbot_edge.server.auth import Auth
from moltbot_edge.server.body import Held, whole_body
from moltbot_edge.server.call import EXTENSION, Call
from moltbot_edge.server.kept import Reading, pieces, takes
from moltbot_edge.server.limits import BodyBudget
from moltbot_edge.server.management import body_of, check_page

EVERYBODY: Final = "*"
SHOWN: Final = 100  # sessions or turns, where nobody says how many
MOST_SHOWN: Final = 1000
FORK_BYTES: Final = 4 * 1024
PIECE_BYTES: Final = 64 * 1024  # of an export; a turn may be larger
COPIES: Final = 2  # an import, and what is read of it
METHODS: Final = ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE")  # below: 405 says which


class _Fork(msgspec.Struct, forbid_unknown_fields=True):
    at: str | None = None
    session: str | None = None


_decode_fork = msgspec.json.Decoder(_Fork).decode


class SessionsEndpoints:
    """*body_bytes* is the most that is imported; who takes nothing of an export for *client_stall_s* gets no more."""

    def __init__(
        self,
        auth: Auth,
        archive: Archive,
        reading: Reading,
        budget: BodyBudget,
        body_bytes: int,
        client_stall_s: float,
    ) -> None:
        self._auth = auth
        self._archive = archive
        self._reading = reading
        self._budget = budget
        self._body_bytes = body_bytes
        self._client_stall_s = client_stall_s

    async def all(self, request: Request) -> Response:
        everybody = request.query_params.get("owner") == EVERYBODY
        if everybody:
            self._auth.holder(request.headers.raw).check_admin()
        owner = None if everybody else self._owner(request)
        return _json(await self._archive.list(owner, _limit(request), request.query_params.get("after")))

    async def below(self, request: Request) -> Response:
        """What is below ``/v1/sessions/``."""
        method = "GET" if request.method == "HEAD" else request.method
        match pieces(request, SESSIONS), method:
            case [""] | [], _:
                raise UnknownPath(f"there is nothing at {request.url.path}; sessions are listed at {SESSIONS}")
            case ["import"], "POST":
                return await self._import(request)
            case [name], "GET":
                return await self._show(request, checked_name(name))
            case [name], "DELETE":
                return await self._delete(request, checked_name(name))
            case [name, "fork"], "POST":
                return await self._fork(request, checked_name(name))
            case [name, "export"], "GET":
                return self._export(request, checked_name(name))
            case ["import"], _:
                raise takes("GET, HEAD, DELETE, POST")
            case [_], _:
                raise takes("GET, HEAD, DELETE")
            case [_, "fork"], _:
                raise takes("POST")
            case [_, "export"], _:
                raise takes("GET, HEAD")
            case _:
                raise UnknownPath(f"there is nothing at {request.url.path}: a / in a session's name is written %2F")

    async def compact(self, request: Request) -> Response:
        self._auth.holder(request.headers.raw).check_admin()
        check_page(request)
        return _json(await self._archive.compact())

    async def _show(self, request: Request, name: str) -> Response:
        owner = self._owner(request)
        limit = _limit(request)
        async with self._loaded(owner, name) as kept:
            return _json(page(owner, name, kept, limit, request.query_params.get("after")))

    async def _delete(self, request: Request, name: str) -> Response:
        owner = self._owner(request)
        check_page(request)
        await self._archive.delete(owner, name)
        return _json({"session": name, "deleted": True})

    async def _fork(self, request: Request, name: str) -> Response:
        owner = self._owner(request)
        check_page(request)
        asked = _fork_of(await body_of(request, FORK_BYTES, "a fork is a turn's id and a name"))
        if asked.session is not None:
            checked_name(asked.session)
        async with self._loaded(owner, name) as kept:
            return _json(await self._archive.fork(owner, kept, asked.at, asked.session), 201)

    def _export(self, request: Request, name: str) -> Response:
        return _Export(name, self._loaded(self._owner(request), name), self._client_stall_s)

    async def _import(self, request: Request) -> Response:
        owner = self._owner(request)
        check_page(request)
        name = request.query_params.get("session")
        if name is not None:
            checked_name(name)
        held = Held(self._budget, COPIES)
        try:
            text = await whole_body(request.scope["extensions"][EXTENSION], held, self._body_bytes)
            return _json(await self._archive.add(owner, text, name), 201)
        finally:
            held.give()

    def _owner(self, request: Request) -> str:
        """Whose session is meant. Raises `NotAdmin` where it is another key's, whether there is one or not."""
        holder = self._auth.holder(request.headers.raw)
        owner = request.query_params.get("owner", holder.name)
        if owner != holder.name:
            holder.check_admin()
            if owner == EVERYBODY:
                raise InvalidRequest("owner=* is for the list: say whose session is meant", param="owner")
        return owner

    @asynccontextmanager
    async def _loaded(self, owner: str, name: str) -> AsyncIterator[Kept]:
        """Raises `UnknownSession`."""
        async with self._reading.loaded(owner, name) as kept:
            if kept is None:
                raise unknown(owner, name)
            yield kept


class _Export(Response):
    """Lines as they are taken: all of them would be the session once more."""

    def __init__(self, name: str, loaded: AbstractAsyncContextManager[Kept], stall_s: float) -> None:
        super().__init__(media_type=LINES)
        self._name = name
        self._loaded = loaded
        self._stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._loaded as kept:
            headers = [(b"content-type", LINES.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if scope["method"] != "HEAD":
                for piece in _joined(exported(self._name, kept)):
                    try:
                        async with asyncio.timeout(self._stall_s):
                            await send({"type": "http.response.body", "body": piece, "more_body": True})
                    except TimeoutError:
                        call: Call = scope["extensions"][EXTENSION]
                        call.cut()  # shorter than it should be, and seen to be
                        return
            await send({"type": "http.response.body", "body": b""})


def _joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Short ones together."""
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _limit(request: Request) -> int:
    said = request.query_params.get("limit", str(SHOWN))
    if not (said.isascii() and said.isdigit() and 1 <= int(said[:9]) <= MOST_SHOWN):
        raise InvalidRequest(f"limit is 1 to {MOST_SHOWN}, found {said[:40]!r}", param="limit")
    return int(said)


def _fork_of(body: bytes | bytearray) -> _Fork:
    try:
        return _decode_fork(body) if body.strip() else _Fork()
    except UNREADABLE as error:
        raise InvalidRequest(f'expected {{"at": "01m...", "session": "..."}}, either or none: {error}') from error


def _json(said: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(said), status, media_type="application/json")
