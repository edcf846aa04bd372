"""Sessions in a folder of this machine, by diskcache: the default. What a row is, `table` says.

Durable means that a commit's bytes are on the disk (SQLite's ``synchronous=FULL``) before `append` returns: a box may
lose its power between two turns. What is idle leaves when its time is over, or, when the store is as large as it may
be, the longest idle first; a session that goes on never does.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from moltbot_edge.api import StoreError, store
from moltbot_edge.core.record import Unreadable
from moltbot_edge.core.session import Kept, Turn
from moltbot_edge.core.store import Page, Stats, Store, StoreOptions, Summary
from moltbot_edge.stores import envelope
from moltbot_edge.stores.folder import Folder
from moltbot_edge.stores.recent import Known, Recent
from moltbot_edge.stores.refusals import check_size, conflict, position
from moltbot_edge.stores.table import HASH_BYTES, Row, Table, counted, prefix
from moltbot_edge.stores.turnstile import Turnstile
from moltbot_edge.stores.weight import weight_bytes
from moltbot_edge.stores.worker import Worker

log = logging.getLogger(__name__)

NEWEST: Final = 2**62
LOOKED_AT: Final = 256  # rows of one look into the list: others come in between
LOOKS: Final = 32  # of one page: who has one session among 100,000 is not looked for in all of them at once
WALKED: Final = 256  # rows that tidying passes at a time
LEAVING: Final = 8  # sessions that leave at a time: a thousand turns take a card a second
TIDY_S: Final = 10.0
ROOM: Final = 0.95  # of its size, what a full store comes down to
STARTS: Final = 1024  # of keys, by names: sessions that go on at one time
PACKED_HERE_BYTES: Final = 16 * 1024  # 0.1 ms
ROW_BYTES: Final = 2048  # at most, of the pages that a turn takes beside its own bytes


class Disk:
    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        self._turnstile = Turnstile(options.waiters)
        self._recent = Recent()
        self._starts: dict[tuple[str, str], bytes] = {}
        self._folder = Folder(Path(options.path), options.clock, log, self._recent)
        self._worker = Worker(self._folder, self._tidy, self._turnstile.in_use, log)
        self._tidied = 0.0
        self._full = False
        self._room_bytes = 0  # that can be written before the store may be full

    @property
    def trouble(self) -> StoreError | None:
        return self._folder.trouble

    @property
    def size_bytes(self) -> int:
        """What the files take, the log included."""
        return self._folder.size_bytes()

    async def load(self, owner: str, session: str) -> Kept | None:
        name = owner, session
        start = self._start(name)
        known = self._recent.get(start)
        if known is not None and known.name == name and not self._idle(known.leaf):
            return known.kept

        def loaded(table: Table) -> Kept | None:
            leaf = self._leaf(table, start)
            if leaf is None or table.name(start) not in (None, name):
                return None
            turns, last, whole = [], leaf.key, True
            for row in table.turns(start):
                try:
                    if isinstance(row, Unreadable):
                        raise row
                    turns.append(envelope.opened(row.value))
                    last = row.key
                except Unreadable as error:
                    log.error("a turn of the session %r in %s is damaged (%s)", session, self._options.path, error)
                    whole = False
            is_last = bool(turns) and last == leaf.key
            kept = Kept(tuple(turns), leaf.label.size_bytes, None if is_last else leaf.label.id)
            if whole and is_last:
                table.recent.put(start, Known(name, kept, leaf, weight_bytes(turns)))
            return kept

        return await self._worker.ask(loaded)

    async def append(self, owner: str, session: str, turn: Turn, leaf: str | None) -> None:
        await self._put(owner, session, [turn], leaf, again=True)

    async def add(self, owner: str, session: str, turns: Sequence[Turn]) -> None:
        await self._put(owner, session, turns, None)

    async def delete(self, owner: str, session: str) -> bool:
        start = prefix(owner, session)

        def deleted(table: Table) -> bool:
            there = self._leaf(table, start) is not None
            table.delete(start)
            return there

        return await self._worker.ask(deleted, writes=True)

    async def list(self, owner: str | None, limit: int, after: str | None = None) -> Page:
        found: list[Summary] = []
        before = position(after, NEWEST)
        for _ in range(LOOKS):
            some, further = await self._worker.ask(self._look(owner, before, limit - len(found)))
            found += some
            if further is None:
                return Page(tuple(found))
            before = further
            if len(found) == limit:
                break
        return Page(tuple(found), str(before))

    async def stats(self) -> Stats:
        return await self._worker.ask(lambda table: Stats(table.count(), table.used_bytes()))

    async def compact(self) -> None:
        await self._worker.ask(Table.compact)  # as a read is, for SQLite does not do it within a transaction

    def held(self, owner: str, session: str, wait_s: float) -> AbstractAsyncContextManager[None]:
        return self._turnstile.held(owner, session, wait_s)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Store]:
        """Whatever is wrong with the folder: then each call says so, until it is better."""
        self._worker.start()
        try:
            yield self
        finally:
            await self._worker.stop()

    async def _put(
        self, owner: str, session: str, turns: Sequence[Turn], leaf: str | None, *, again: bool = False
    ) -> None:
        """*again*: they may be there, by a commit that was said to have failed, and had not."""
        name = owner, session
        start = self._start(name)
        weights = [weight_bytes([turn]) for turn in turns]
        # Packed here, or where it takes longer in the thread, which would have to ask for the interpreter's lock twice.
        short = sum(weights) <= PACKED_HERE_BYTES
        packed = [envelope.sealed(turn) for turn in turns] if short else None

        def put(table: Table) -> None:
            known, last = table.recent.standing(start), None
            standing: Row | None = None
            if known is not None and known.name == name:
                standing, last = known.leaf, known.leaf.key
            else:
                known = None
                if (last := table.last(start)) is not None:
                    standing = table.leaf(start)
            if again and standing is not None and standing.label.id == turns[-1].id:
                return
            if standing is not None and standing.label.id != leaf and self._idle(standing):
                known = standing = None  # it has left, but for who had it before that
            if (standing.label.id if standing else None) != leaf:
                raise conflict(session, leaf, standing.label.id if standing else None)
            before = standing.label.size_bytes if standing else 0
            check_size(session, before + sum(weights), self._options.session_bytes)
            values = packed or [envelope.sealed(turn) for turn in turns]
            if standing is None and last is not None:  # idle too long
                table.delete(start)
                last = None
            now = self._options.clock()
            for turn, value, weight in zip(turns, values, weights, strict=True):
                standing = table.put(start, name, standing, turn.id, now, value, weight, last)
                last = standing.key
                self._room_bytes -= len(value) + ROW_BYTES
            if standing is not None and (known or leaf is None):
                kept = Kept((*known.kept.turns, *turns) if known else tuple(turns), standing.label.size_bytes)
                weight = sum(weights) + (known.weight_bytes if known else 0)
                table.recent.expect(start, Known(name, kept, standing, weight))

        await self._worker.ask(put, writes=True)

    def _start(self, name: tuple[str, str]) -> bytes:
        start = self._starts.get(name)
        if start is None:
            if len(self._starts) >= STARTS:
                self._starts.clear()
            start = self._starts[name] = prefix(*name)
        return start

    def _leaf(self, table: Table, start: bytes) -> Row | None:
        leaf = table.leaf(start)
        return None if leaf is None or self._idle(leaf) else leaf

    def _idle(self, leaf: Row) -> bool:
        return leaf.label.at + self._options.timeout_s <= self._options.clock()

    def _look(
        self, owner: str | None, before: int, limit: int
    ) -> Callable[[Table], tuple[Sequence[Summary], int | None]]:
        """Sessions whose last turn came before a row, and the row to go on before; None: there is nothing more."""

        def looked(table: Table) -> tuple[Sequence[Summary], int | None]:
            found: list[Summary] = []
            rows = table.last_before(before, LOOKED_AT)
            for row in rows:
                start = row.key[:HASH_BYTES]
                leaf = table.leaf(start)
                if leaf is None or leaf.key != row.key or self._idle(leaf):
                    continue
                whose, name = row.label.name or table.name(start) or ("", "")
                if name and owner in (None, whose):
                    said = row.label
                    found.append(Summary(whose, name, said.id, said.at, counted(row.key), said.size_bytes))
                if len(found) == limit:
                    return found, row.number
            return found, rows[-1].number if len(rows) == LOOKED_AT else None

        return looked

    def _tidy(self, table: Table) -> bool:
        """The oldest idle sessions leave; True: there are more."""
        now = self._options.clock()
        if self._room_bytes <= 0:
            used_bytes = table.used_bytes()
            self._full = used_bytes > self._options.size_bytes * (ROOM if self._full else 1.0)
            self._room_bytes = 0 if self._full else int(self._options.size_bytes - used_bytes)
        if not self._full and 0 <= now - self._tidied < TIDY_S:
            return False
        newest = table.last_number()
        rows = table.first_after(table.walked, WALKED)
        left, used = 0, False
        for row in rows:
            start = row.key[:HASH_BYTES]
            leaf = table.leaf(start)
            if leaf is not None and leaf.key == row.key:
                full = self._full and row.number != newest
                if not (full or self._idle(leaf)):
                    break
                if self._turnstile.is_held(table.name(start)):
                    used = True
                    continue
                with table.writing():
                    table.delete(start)
                self._full = self._full and table.used_bytes() > self._options.size_bytes * ROOM
                left += 1
            if not used:
                table.walk(row.number)
            if left == LEAVING:
                return True
        else:
            if len(rows) == WALKED and not used:
                return True
        self._tidied = now
        return False


@store("disk")
@asynccontextmanager
async def opened(options: StoreOptions) -> AsyncIterator[Store]:
    async with Disk(options).open() as disk:
        yield disk
