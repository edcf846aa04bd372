"""``/v1/conversations``: OpenAI's address for a session that several Responses go on with, and for what is in it.

A conversation's id is its session's name, and any session of the caller's can be asked for so. Each key has its own;
another's is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from moltbot_edge.core import items, response_id, session
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidRequest, UnknownItem, UnknownPath
from moltbot_edge.core.head import check_text, check_values
from moltbot_edge.core.items import Item
from moltbot_edge.core.session import Kept, Turn, checked_name
from moltbot_edge.dialects import responses_items
from moltbot_edge.dialects.responses_request import read_items
from moltbot_edge.gateway.entries import Entries, unknown
from moltbot_edge.server.app import CONVERSATIONS
from moltbot_edge.server.auth import Auth
from moltbot_edge.server.body import Held, whole_body
from moltbot_edge.server.call import EXTENSION
from moltbot_edge.server.kept import Reading, json, listing, page, pieces, takes
from moltbot_edge.server.limits import BodyBudget
from moltbot_edge.server.management import check_page

COPIES: Final = 2  # a body, and what is read of it
MOST_NOTES, KEY_CHARS, NOTE_CHARS = 16, 64, 512  # as OpenAI has it


class _Notes(msgspec.Struct):
    metadata: dict[str, str] | None = None


_notes = msgspec.json.Decoder(_Notes).decode


class ConversationsEndpoints:
    """*new_id* is as a turn's; *body_bytes* is the most that is put into one at once."""

    def __init__(
        self,
        auth: Auth,
        reading: Reading,
        entries: Entries,
        new_id: Callable[[], str],
        budget: BodyBudget,
        body_bytes: int,
    ) -> None:
        self._auth = auth
        self._reading = reading
        self._entries = entries
        self._new_id = new_id
        self._budget = budget
        self._body_bytes = body_bytes

    async def all(self, request: Request) -> Response:
        owner = self._changer(request)
        messages, metadata = await self._said(request)
        name = response_id.conversation(self._new_id())
        turn = await self._entries.begin(owner, name, messages, metadata or {})
        return json(_shown(name, [turn]))

    async def below(self, request: Request) -> Response:
        """What is below ``/v1/conversations/``."""
        method = "GET" if request.method == "HEAD" else request.method
        match pieces(request, CONVERSATIONS), method:
            case [name], "GET":
                return await self._show(request, checked_name(name))
            case [name], "POST":
                return await self._note(request, checked_name(name))
            case [name], "DELETE":
                return await self._delete(request, checked_name(name))
            case [name, "items"], "GET":
                return await self._items(request, checked_name(name))
            case [name, "items"], "POST":
                return await self._add(request, checked_name(name))
            case [name, "items", id], "GET":
                return await self._item(request, checked_name(name), id)
            case [name, "items", id], "DELETE":
                return await self._remove(request, checked_name(name), id)
            case [_], _:
                raise takes("GET, HEAD, POST, DELETE")
            case [_, "items"], _:
                raise takes("GET, HEAD, POST")
            case [_, "items", _], _:
                raise takes("GET, HEAD, DELETE")
        raise UnknownPath(f"there is nothing at {request.url.path}; docs/dialects.md lists the endpoints")

    async def _show(self, request: Request, name: str) -> Response:
        async with self._reading.loaded(self._owner(request), name) as kept:
            return json(_shown(name, _found(name, kept).turns))

    async def _note(self, request: Request, name: str) -> Response:
        owner = self._changer(request)
        _, metadata = await self._said(request)
        return json(_shown(name, await self._entries.add(owner, name, metadata=metadata or {})))

    async def _delete(self, request: Request, name: str) -> Response:
        await self._entries.delete(self._changer(request), name)
        return json({"id": name, "object": "conversation.deleted", "deleted": True})

    async def _items(self, request: Request, name: str) -> Response:
        async with self._reading.loaded(self._owner(request), name) as kept:
            found = _listed(_found(name, kept))
            return page(request, found, lambda one: _id(name, *one), lambda one: _written(name, *one))

    async def _add(self, request: Request, name: str) -> Response:
        owner = self._changer(request)
        messages, _ = await self._said(request)
        if not messages:
            raise InvalidRequest("there are no `items` to add", param="items")
        added = responses_items.listed((await self._entries.add(owner, name, messages))[-1:], ())
        return json(listing([_id(name, *one) for one in added], [_written(name, *one) for one in added]))

    async def _item(self, request: Request, name: str, id: str) -> Response:
        async with self._reading.loaded(self._owner(request), name) as kept:
            return json(_written(name, *_one(name, _found(name, kept), id)))

    async def _remove(self, request: Request, name: str, id: str) -> Response:
        def removes(kept: Kept) -> Sequence[str]:
            turn, one = _one(name, kept, id)
            return [items.mark(turn.id, one.key)]

        return json(_shown(name, await self._entries.add(self._changer(request), name, removes=removes)))

    def _owner(self, request: Request) -> str:
        return self._auth.holder(request.headers.raw).name

    def _changer(self, request: Request) -> str:
        owner = self._owner(request)
        check_page(request)
        return owner

    async def _said(self, request: Request) -> tuple[Sequence[Any], Mapping[str, str] | None]:
        """The messages and the notes in the body."""
        held = Held(self._budget, COPIES)
        try:
            body = await whole_body(request.scope["extensions"][EXTENSION], held, self._body_bytes)
            if not body.strip():
                return (), None
            check_values(body)
            check_text(body)
            return read_items(body), _metadata(body)
        finally:
            held.give()


def _metadata(body: bytes | bytearray) -> Mapping[str, str] | None:
    try:
        said = _notes(body).metadata
    except UNREADABLE as error:
        raise InvalidRequest(f"`metadata` is texts by their names: {error}", param="metadata") from error
    for name, note in (said or {}).items():
        if len(said or ()) > MOST_NOTES or len(name) > KEY_CHARS or len(note) > NOTE_CHARS:
            raise InvalidRequest(
                f"`metadata` is {MOST_NOTES} texts of {NOTE_CHARS} characters at most, with names of {KEY_CHARS}",
                param="metadata",
            )
    return said


def _found(name: str, kept: Kept | None) -> Kept:
    if kept is None:
        raise unknown(name)
    return kept


def _shown(name: str, turns: Sequence[Turn]) -> dict[str, Any]:
    """What was noted last on the whole holds; what is noted on a response is that one's."""
    notes = [turn.metadata for turn in turns if not turn.answered and turn.metadata is not None]
    at = int(turns[0].at) if turns else 0
    return {"id": name, "object": "conversation", "created_at": at, "metadata": notes[-1] if notes else {}}


def _listed(kept: Kept) -> list[tuple[Turn, Item]]:
    return responses_items.listed(session.path(kept.turns, kept.leaf), items.removed(kept.turns))


def _one(name: str, kept: Kept, id: str) -> tuple[Turn, Item]:
    for turn, one in _listed(kept):
        if _id(name, turn, one) == id:
            return turn, one
    raise UnknownItem(f"Item with id {id[:256]!r} not found in {name[:256]!r}.")


def _id(name: str, turn: Turn, item: Item) -> str:
    return responses_items.id_of(item, name, turn.id)


def _written(name: str, turn: Turn, item: Item) -> dict[str, Any]:
    return responses_items.written(item, name, turn.id)
