"""Kept conversations as people and their tools handle them: listed, read, copied, carried away, deleted. Not chats.

By the store of a gateway that runs, or by one that a command opened where none does. What changes a session takes it
from whoever is at work in it first: a turn that is under way would otherwise be kept in what came in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from moltbot_edge.core import record, session
from moltbot_edge.core.chat import Message, Own, Part, Role, Tool
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidRequest, UnknownSession
from moltbot_edge.core.events import Usage
from moltbot_edge.core.head import check_values
from moltbot_edge.core.items import standing
from moltbot_edge.core.reply import FinishReason
from moltbot_edge.core.session import Cut, Kept, Turn, checked_name
from moltbot_edge.core.store import Page, Stats, Store

WAIT_S: Final = 2.0  # for a session at work: a board's reply may take minutes, and who deletes can come again
PAGE_BYTES: Final = 4 * 1024 * 1024  # of turns that are shown at once, and one turn at least


class ShownOwn(msgspec.Struct, frozen=True, tag="own"):
    origin: str
    kind: str
    raw: msgspec.Raw


class ShownMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    role: Role
    parts: tuple[Part | ShownOwn, ...]
    name: str | None = None


class ShownTool(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None
    strict: bool | None = None


class ShownTurn(msgspec.Struct, frozen=True):
    """A `Turn` for a reader: every field is there, and what is JSON inside is JSON."""

    id: str
    at: float
    parent: str | None
    model: str
    deployment: str
    dialect: str
    system: tuple[ShownMessage, ...] | None
    tools: tuple[ShownTool, ...] | None
    messages: tuple[ShownMessage, ...]
    reply: ShownMessage
    finish: FinishReason
    usage: Usage | None
    dropped: tuple[str, ...]
    metadata: Mapping[str, str] | None
    removed: tuple[str, ...]
    cut: Cut | None


class ShownSession(msgspec.Struct, frozen=True):
    """*count* is of all turns, *turns* some of them, the oldest first; *after* continues, None at the end."""

    session: str
    owner: str
    leaf: str | None
    count: int
    size_bytes: int
    turns: tuple[msgspec.Raw, ...]
    after: str | None = None


class Copied(msgspec.Struct, frozen=True):
    session: str
    owner: str
    leaf: str
    count: int


class Archive:
    """*store* gives it, opened; *new_name* is for a session that nobody named."""

    def __init__(self, store: Callable[[], Awaitable[Store]], new_name: Callable[[], str]) -> None:
        self._store = store
        self._new_name = new_name

    async def list(self, owner: str | None, limit: int, after: str | None = None) -> Page:
        return await (await self._store()).list(owner, limit, after)

    async def load(self, owner: str, name: str) -> Kept:
        """Raises `UnknownSession`."""
        kept = await (await self._store()).load(owner, name)
        if kept is None:
            raise unknown(owner, name)
        return kept

    async def delete(self, owner: str, name: str) -> None:
        """Raises `UnknownSession`, and `SessionBusy` where somebody is at work in it."""
        store = await self._store()
        async with store.held(owner, name, WAIT_S):
            if not await store.delete(owner, name):
                raise unknown(owner, name)

    async def fork(self, owner: str, kept: Kept, at: str | None, name: str | None) -> Copied:
        """*kept* up to the turn *at*, or to where it stands, as a session of its own."""
        if at is not None and all(turn.id != at for turn in kept.turns):
            raise InvalidRequest(f"the session has no turn {at[:40]!r}", param="at")
        turns = tuple(session.rooted(session.path(standing(kept.turns), at or kept.leaf)))
        if not turns:
            raise InvalidRequest("no turn of the session can be read")
        return await self._add(owner, name or self._new_name(), turns)

    async def add(self, owner: str, text: bytes | bytearray, name: str | None = None) -> Copied:
        """What was exported. Raises `SessionConflict` where there is a session of that name already."""
        said, turns = await asyncio.to_thread(_imported, text)
        return await self._add(owner, name or said, turns)

    async def compact(self) -> Stats:
        """What there is then. A disk store reads and writes nothing else meanwhile."""
        store = await self._store()
        await store.compact()
        return await store.stats()

    async def _add(self, owner: str, name: str, turns: Sequence[Turn]) -> Copied:
        checked_name(name)
        store = await self._store()
        async with store.held(owner, name, WAIT_S):
            await store.add(owner, name, turns)
        return Copied(name, owner, turns[-1].id, len(turns))


def exported(name: str, kept: Kept) -> Iterable[bytes]:
    """Line by line, as `Archive.add` takes it. What was taken out of the session is not carried away."""
    return record.lines(name, session.rooted(standing(kept.turns)))


def page(owner: str, name: str, kept: Kept, limit: int, after: str | None = None) -> ShownSession:
    """*limit* turns at most, those that came after the turn *after*. Raises `InvalidRequest`."""
    first = 0
    all_turns = standing(kept.turns)
    if after is not None:
        first = next((place + 1 for place, turn in enumerate(all_turns) if turn.id == after), 0)
        if not first:
            raise InvalidRequest(f"the session has no turn {after[:40]!r}", param="after")
    turns: list[msgspec.Raw] = []
    size_bytes = 0
    for turn in all_turns[first : first + limit]:
        encoded = msgspec.json.encode(shown(turn))
        size_bytes += len(encoded)
        if turns and size_bytes > PAGE_BYTES:
            break
        turns.append(msgspec.Raw(encoded))
    end = first + len(turns)
    more = all_turns[end - 1].id if end < len(all_turns) else None
    return ShownSession(name, owner, kept.leaf, len(all_turns), kept.size_bytes, tuple(turns), more)


def shown(turn: Turn) -> ShownTurn:
    return ShownTurn(
        turn.id,
        turn.at,
        turn.parent,
        turn.model,
        turn.deployment,
        turn.dialect,
        None if turn.system is None else tuple(map(_message, turn.system)),
        None if turn.tools is None else tuple(map(_tool, turn.tools)),
        tuple(map(_message, turn.messages)),
        _message(turn.reply),
        turn.finish,
        turn.usage,
        turn.dropped,
        turn.metadata,
        turn.removed,
        turn.cut,
    )


def _message(message: Message) -> ShownMessage:
    return ShownMessage(message.role, tuple(_parts(message.parts)), message.name)


def _parts(parts: Iterable[Part]) -> Iterator[Part | ShownOwn]:
    for part in parts:
        yield ShownOwn(part.origin, part.kind, _json(part.raw)) if isinstance(part, Own) else part


def _tool(tool: Tool) -> ShownTool:
    parameters = None if tool.parameters is None else _json(tool.parameters)
    return ShownTool(tool.name, tool.description, parameters, tool.strict)


def _json(text: bytes) -> msgspec.Raw:
    """As it is, if it is JSON: an import may hold anything."""
    try:
        msgspec.json.decode(text, type=Any)
    except UNREADABLE:
        return msgspec.Raw(msgspec.json.encode(text.decode(errors="replace")))
    return msgspec.Raw(text)


def _imported(text: bytes | bytearray) -> tuple[str, tuple[Turn, ...]]:
    check_values(text)
    return record.from_lines(text)


def unknown(owner: str, name: str) -> UnknownSession:
    """In the same words for another's session as for one that never was."""
    whose = f" of the key {owner!r}" if owner else ""
    return UnknownSession(f"there is no session {name!r}{whose}, or no longer", param="session")
