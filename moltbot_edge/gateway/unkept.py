"""Turns that a store could not take, held in memory until it can: a conversation goes on whole meanwhile.

A full or read-only disk would otherwise have the next question answered as if the last one had never been asked, and
nobody would see it. What is held here goes with the process; the log has said that. Not who finds out what is wrong
with a store: that is `watched_store`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from msgspec.structs import replace

from moltbot_edge.core import record
from moltbot_edge.core.errors import GatewayError, Overloaded, SessionConflict, StoreError
from moltbot_edge.core.session import Kept, Turn
from moltbot_edge.core.store import Page, Stats, Store

log = logging.getLogger(__name__)

HELD_BYTES: Final = 2 * 1024 * 1024  # as written down: some thousand turns, of a gateway that takes 25 MB
AT_ONCE: Final = 16  # sessions that are made up for with one turn

Key = tuple[str, str]


class Unkept:
    """A store before *store*, which holds what that one does not take. One session's calls come one after the other."""

    def __init__(self, store: Store, limit_bytes: int = HELD_BYTES) -> None:
        self._store = store
        self._limit_bytes = limit_bytes
        self._held: dict[Key, list[tuple[Turn, str | None, int]]] = {}  # each with the leaf before it, and its bytes
        self._size_bytes = 0
        self._catching_up = asyncio.Lock()

    @property
    def trouble(self) -> StoreError | None:
        return self._store.trouble

    @property
    def size_bytes(self) -> int | None:
        return self._store.size_bytes

    async def load(self, owner: str, session: str) -> Kept | None:
        held = self._held.get((owner, session)) if self._held else None
        if not held:
            return await self._store.load(owner, session)
        held = list(held)  # before it is asked: meanwhile they may get there
        kept = await self._store.load(owner, session) or Kept(())
        there = {turn.id for turn in kept.turns}
        more = [one for one in held if one[0].id not in there]
        turns = [after(turn, leaf, kept) for turn, leaf, _ in more]
        return Kept((*kept.turns, *turns), kept.size_bytes + sum(size for *_, size in more))

    def waiting(self, owner: str, session: str) -> Kept | None:
        """What is held of it, for who goes on although the rest cannot be read."""
        held = self._held.get((owner, session))
        return Kept(tuple(turn for turn, _, _ in held), sum(size for *_, size in held)) if held else None

    async def append(self, owner: str, session: str, turn: Turn, leaf: str | None) -> None:
        """What cannot be taken now is held, and what was wrong raised all the same."""
        key = owner, session
        try:
            if key in self._held:
                await self._catch_up_or_forget(key)
            await self._store.append(owner, session, turn, leaf)
        except (StoreError, Overloaded):
            self._hold(key, turn, leaf)
            raise
        if self._held:
            await self._catch_up_others()

    async def add(self, owner: str, session: str, turns: Sequence[Turn]) -> None:
        if self._held.get((owner, session)):
            raise SessionConflict(f"there is a session {session!r} already")
        await self._store.add(owner, session, turns)

    async def delete(self, owner: str, session: str) -> bool:
        async with self._catching_up:  # whose turn would begin it anew
            there = await self._store.delete(owner, session)
            return self._forget((owner, session)) or there

    async def list(self, owner: str | None, limit: int, after: str | None = None) -> Page:
        return await self._store.list(owner, limit, after)

    async def stats(self) -> Stats:
        return await self._store.stats()

    async def compact(self) -> None:
        await self._store.compact()

    def held(self, owner: str, session: str, wait_s: float) -> AbstractAsyncContextManager[None]:
        return self._store.held(owner, session, wait_s)

    async def close(self) -> None:
        """A last attempt."""
        await self._catch_up_others(len(self._held))
        if self._held:
            lost = sum(map(len, self._held.values()))
            log.error("never kept, and gone with this process: turns %d, of sessions %d", lost, len(self._held))

    async def _catch_up_others(self, most: int = AT_ONCE) -> None:
        for key in list(self._held)[:most]:
            try:
                await self._catch_up_or_forget(key)
            except (StoreError, Overloaded, SessionConflict):
                return

    async def _catch_up_or_forget(self, key: Key) -> None:
        try:
            await self._catch_up(key)
        except (StoreError, Overloaded, SessionConflict):
            raise
        except GatewayError as error:  # too large by now, for one
            log.error("what was held of the session %r is not kept: %s", key[1], error.message)
            self._forget(key)

    async def _catch_up(self, key: Key) -> None:
        async with self._catching_up:
            while held := self._held.get(key):
                turn, leaf, size_bytes = held[0]
                try:
                    await self._store.append(*key, turn, leaf)
                except SessionConflict:  # another gateway went on meanwhile: the two stand side by side
                    kept = await self._store.load(*key)
                    if kept is None:
                        await self._store.append(*key, turn, None)
                    elif all(one.id != turn.id for one in kept.turns):
                        await self._store.append(*key, after(turn, leaf, kept), kept.stands)
                if held and held[0][0] is turn:
                    held.pop(0)
                    self._size_bytes -= size_bytes
            self._held.pop(key, None)

    def _hold(self, key: Key, turn: Turn, leaf: str | None) -> None:
        size_bytes = len(record.written(turn))
        held = self._held[key] = self._held.pop(key, [])  # who went on last comes last
        held.append((turn, leaf, size_bytes))
        self._size_bytes += size_bytes
        while self._size_bytes > self._limit_bytes:
            first = next(iter(self._held))
            lost = len(self._held[first])
            if first != key:
                self._forget(first)
            else:  # nobody else is left: what it was told last is worth more than what it began with
                self._size_bytes -= held.pop(0)[2]
                lost = 1
            log.error("too much waits to be kept: of the session %r, %d turns are lost", first[1], lost)
            if not held:
                self._forget(key)

    def _forget(self, key: Key) -> bool:
        held = self._held.pop(key, [])
        self._size_bytes -= sum(size for *_, size in held)
        there = bool(held)
        held.clear()  # whoever is catching up with it stops
        return there


def after(turn: Turn, leaf: str | None, kept: Kept) -> Turn:
    """*turn*, begun where nothing was known of what is *kept*, goes on there; one that knew a *leaf* stands beside."""
    return replace(turn, parent=kept.leaf) if turn.parent is None and leaf is None else turn


@asynccontextmanager
async def held_back(opening: AbstractAsyncContextManager[Store]) -> AsyncIterator[Unkept]:
    """The store that *opening* opens, with `Unkept` before it."""
    async with opening as store:
        unkept = Unkept(store)
        try:
            yield unkept
        finally:
            await unkept.close()
