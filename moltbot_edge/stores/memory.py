"""Sessions until the end of the process: for trying things out, and for a board whose card shall not be written.

Kept as written down, not as values: a turn of 1 KiB takes 1 KiB and not ten times as much.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import takewhile

from moltbot_edge.api import StoreError, store
from moltbot_edge.core.session import Kept, Turn
from moltbot_edge.core.store import Page, Stats, Store, StoreOptions, Summary
from moltbot_edge.stores import envelope
from moltbot_edge.stores.refusals import check_size, conflict, position
from moltbot_edge.stores.turnstile import Turnstile
from moltbot_edge.stores.weight import weight_bytes

# Beside a turn's own bytes: the objects that hold it.
OBJECT_BYTES = 200
READ_HERE_BYTES = 16 * 1024  # 0.3 ms; of more, the event loop does not wait for it


class _Session:
    def __init__(self, serial: int) -> None:
        self.serial = serial
        self.turns: list[bytes] = []
        self.leaf = ""
        self.at = 0.0
        self.size_bytes = 0
        self.weight_bytes = 0  # where it is read


class Memory:
    trouble: StoreError | None = None

    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        self._sessions: dict[tuple[str, str], _Session] = {}  # the one used last comes last
        self.size_bytes = 0
        self._serial = 0
        self._turnstile = Turnstile(options.waiters)

    async def load(self, owner: str, session: str) -> Kept | None:
        found = self._found(owner, session)
        if found is None:
            return None
        if found.size_bytes <= READ_HERE_BYTES:
            return Kept(_read(found.turns), found.weight_bytes)
        return Kept(await asyncio.to_thread(_read, tuple(found.turns)), found.weight_bytes)

    async def append(self, owner: str, session: str, turn: Turn, leaf: str | None) -> None:
        found = self._sessions.get((owner, session))
        if (
            found is not None and found.leaf != leaf and self._idle(found)
        ):  # it has left, but for who had it before that
            self._drop((owner, session))
            found = None
        standing = None if found is None else found.leaf
        if standing != leaf:
            raise conflict(session, leaf, standing)
        self._put(owner, session, [turn])

    async def add(self, owner: str, session: str, turns: Sequence[Turn]) -> None:
        if (found := self._found(owner, session)) is not None:
            raise conflict(session, None, found.leaf)
        if (owner, session) in self._sessions:
            self._drop((owner, session))
        self._put(owner, session, turns)

    async def delete(self, owner: str, session: str) -> bool:
        there = self._found(owner, session) is not None
        if (owner, session) in self._sessions:
            self._drop((owner, session))
        return there

    async def list(self, owner: str | None, limit: int, after: str | None = None) -> Page:
        self._leave_idle()
        before = position(after, self._serial + 1)
        found: list[Summary] = []
        for (whose, name), kept in reversed(self._sessions.items()):
            if kept.serial >= before or owner not in (None, whose) or self._idle(kept):
                continue
            if len(found) == limit:
                return Page(tuple(found), str(before))
            before = kept.serial
            found.append(Summary(whose, name, kept.leaf, kept.at, len(kept.turns), kept.weight_bytes))
        return Page(tuple(found))

    async def stats(self) -> Stats:
        self._leave_idle()
        turns = sum(len(kept.turns) for kept in self._sessions.values())
        return Stats(turns, self.size_bytes, len(self._sessions))

    async def compact(self) -> None:
        self._leave_idle()

    def held(self, owner: str, session: str, wait_s: float) -> AbstractAsyncContextManager[None]:
        return self._turnstile.held(owner, session, wait_s)

    def _found(self, owner: str, session: str) -> _Session | None:
        found = self._sessions.get((owner, session))
        return None if found is None or self._idle(found) else found

    def _put(self, owner: str, session: str, turns: Sequence[Turn]) -> None:
        records = list(map(envelope.sealed, turns))
        size_bytes, weight = sum(len(one) + OBJECT_BYTES for one in records), weight_bytes(turns)
        kept = self._sessions.get((owner, session))
        check_size(session, weight + (kept.weight_bytes if kept else 0), self._options.session_bytes)
        self._serial += 1
        if kept is None:
            kept = _Session(self._serial)
        else:
            del self._sessions[owner, session]
        self._sessions[owner, session] = kept
        kept.serial = self._serial
        kept.turns += records
        kept.leaf = turns[-1].id
        kept.at = self._options.clock()
        kept.size_bytes += size_bytes
        kept.weight_bytes += weight
        self.size_bytes += size_bytes
        self._leave_idle()
        while self.size_bytes > self._options.size_bytes:
            left = (key for key in self._sessions if key != (owner, session) and not self._turnstile.is_held(key))
            if (first := next(left, None)) is None:
                break
            self._drop(first)

    def _leave_idle(self) -> None:
        idle = list(takewhile(lambda key: self._idle(self._sessions[key]), self._sessions))
        for key in idle:
            if not self._turnstile.is_held(key):
                self._drop(key)

    def _idle(self, kept: _Session) -> bool:
        return kept.at + self._options.timeout_s <= self._options.clock()

    def _drop(self, key: tuple[str, str]) -> None:
        self.size_bytes -= self._sessions.pop(key).size_bytes


def _read(records: Iterable[bytes]) -> tuple[Turn, ...]:
    return tuple(map(envelope.opened, records))


@store("memory")
@asynccontextmanager
async def opened(options: StoreOptions) -> AsyncIterator[Store]:
    yield Memory(options)
