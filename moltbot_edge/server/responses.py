"""``/v1/responses/ID``: OpenAI's Responses that are kept, shown again, deleted, and what they were asked with.

Each key has its own; another's is not there. An id tells where its response is kept: see `core.response_id`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from moltbot_edge.core import items, response_id, session
from moltbot_edge.core.errors import InvalidRequest, UnknownPath, UnknownResponse, UnknownSession
from moltbot_edge.core.session import Kept, Turn
from moltbot_edge.dialects import responses_items
from moltbot_edge.dialects.responses_kept import response
from moltbot_edge.gateway.entries import Entries
from moltbot_edge.server.app import RESPONSES
from moltbot_edge.server.auth import Auth
from moltbot_edge.server.kept import Reading, json, page, pieces, takes
from moltbot_edge.server.management import check_page


class ResponsesEndpoints:
    def __init__(self, auth: Auth, reading: Reading, entries: Entries) -> None:
        self._auth = auth
        self._reading = reading
        self._entries = entries

    async def below(self, request: Request) -> Response:
        """What is below ``/v1/responses/``."""
        method = "GET" if request.method == "HEAD" else request.method
        match pieces(request, RESPONSES), method:
            case [id], "GET":
                return await self._show(request, id)
            case [id], "DELETE":
                return await self._delete(request, id)
            case [id, "input_items"], "GET":
                return await self._input_items(request, id)
            case [_, "cancel"], "POST":
                raise InvalidRequest("only a response that is made in the background is cancelled, and none is here")
            case [_], _:
                raise takes("GET, HEAD, DELETE")
            case [_, "input_items"], _:
                raise takes("GET, HEAD")
            case [_, "cancel"], _:
                raise takes("POST")
        raise UnknownPath(f"there is nothing at {request.url.path}; docs/dialects.md lists the endpoints")

    async def _show(self, request: Request, id: str) -> Response:
        owner = self._auth.holder(request.headers.raw).name
        if request.query_params.get("stream") == "true":
            raise InvalidRequest("a response that is kept is shown as a whole: leave `stream` out", param="stream")
        name, turn = _place(id)
        async with self._reading.loaded(owner, name) as kept:
            path = _path(id, kept, turn)
            shown = response(name, path, items.removed(_turns(kept)))
        return Response(shown, media_type="application/json")

    async def _delete(self, request: Request, id: str) -> Response:
        owner = self._auth.holder(request.headers.raw).name
        check_page(request)
        name, turn = _place(id)
        try:
            await self._entries.remove(owner, name, turn, lambda kept: _check(id, kept, turn))
        except UnknownSession:
            raise _unknown(id) from None
        return json({"id": id, "object": "response.deleted", "deleted": True})

    async def _input_items(self, request: Request, id: str) -> Response:
        """All that the model was told, the turns before it included."""
        owner = self._auth.holder(request.headers.raw).name
        name, turn = _place(id)
        async with self._reading.loaded(owner, name) as kept:
            path = _path(id, kept, turn)
            told = responses_items.listed(path, items.removed(_turns(kept)))
            asked = [(of, one) for of, one in told if of.id != turn or one.key.startswith("i")]
            return page(
                request,
                asked,
                lambda one: responses_items.id_of(one[1], name, one[0].id),
                lambda one: responses_items.written(one[1], name, one[0].id),
            )


def _place(id: str) -> tuple[str, str]:
    found = response_id.read(id)
    if found is None:
        raise _unknown(id)
    return found


def _path(id: str, kept: Kept | None, turn: str) -> tuple[Turn, ...]:
    """Up to the turn that is the response. Raises `UnknownResponse`."""
    if kept is None:
        raise _unknown(id)
    _check(id, kept, turn)
    return session.path(kept.turns, turn)


def _check(id: str, kept: Kept, turn: str) -> None:
    if turn in items.removed(kept.turns) or not _has(kept.turns, turn):
        raise _unknown(id)


def _has(turns: Iterable[Turn], id: str) -> bool:
    return any(turn.id == id and turn.answered for turn in turns)


def _turns(kept: Kept | None) -> Sequence[Turn]:
    return () if kept is None else kept.turns


def _unknown(id: str) -> UnknownResponse:
    return UnknownResponse(f"Response with id {id[:256]!r} not found.")
