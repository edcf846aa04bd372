"""The one thread that reads and writes the disk store. What is asked meanwhile is written together, by one commit.

A commit takes a card some 20 ms, whatever is in it; the event loop never waits for one, only who asked does.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from diskcache import Timeout

from moltbot_edge.api import GatewayError, Overloaded, StoreDamaged, StoreError, StoreUnreachable
from moltbot_edge.stores.folder import Folder
from moltbot_edge.stores.sqlite_errors import translated
from moltbot_edge.stores.table import Table

T = TypeVar("T")

GROUP: Final = 64  # writes of a commit
PENDING: Final = 1024  # that wait for the thread; each holds a turn
GATHER_S: Final = 0.002  # that a write waits for others, where sessions are at work whose turns may end now
IDLE_S: Final = 60.0
FAILURES: Final = (sqlite3.Error, OSError, Timeout)


class _Job:
    """*result* is what *do* gave or raised, once it has been done. *over* is awaited by who was cancelled meanwhile."""

    __slots__ = ("do", "future", "handed", "over", "result", "writes")

    def __init__(self, do: Callable[[Table], Any], writes: bool, future: asyncio.Future[Any]) -> None:
        self.do = do
        self.writes = writes
        self.future = future
        self.handed = False  # the thread has it
        self.over: asyncio.Future[None] | None = None
        self.result: Any = None


class Worker:
    """*tidy* is called when something was written, and once a minute when nothing is asked; True: there is more.

    What is asked is handed to the thread as one group, and answered as one: to wake a thread, and to be woken by it,
    costs as much as a turn's own row. While it is at work the next group gathers, and else a moment, if there are more
    sessions *at_work* than ask.
    """

    def __init__(
        self, folder: Folder, tidy: Callable[[Table], bool], at_work: Callable[[], int], log: logging.Logger
    ) -> None:
        self.folder = folder
        self._at_work = at_work
        self._tidy = tidy
        self._log = log
        self._groups: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._waiting: list[_Job] = []
        self._busy = False  # a group is with the thread, or gathers
        self._gathering: asyncio.TimerHandle | None = None
        self._since = 0.0  # that the first of those waits, by the loop's clock
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="sessions", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """What was asked before is done."""
        self._stopping = True
        if not self._busy:
            self._groups.put(None)
        elif self._gathering is not None:
            self._hand_over()
        await asyncio.to_thread(self._thread.join)

    async def ask(self, do: Callable[[Table], T], *, writes: bool = False) -> T:
        """Raises `StoreError`, and what *do* raises. A cancelled write is done when that is heard of, or not begun."""
        if self._stopping:  # nobody would answer
            raise StoreUnreachable("the sessions are closed: this gateway ends", retry_after_s=5.0)
        if len(self._waiting) >= PENDING:
            raise Overloaded(f"{len(self._waiting)} reads and writes of sessions wait for the disk", retry_after_s=5.0)
        assert self._loop is not None
        job = _Job(do, writes, self._loop.create_future())
        if not self._waiting:
            self._since = self._loop.time()
        self._waiting.append(job)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._gather)  # with what others ask in this turn of the loop
        elif self._gathering is not None and not self._is_early():
            self._hand_over()
        try:
            done: T = await job.future
        except asyncio.CancelledError:
            if writes and job.handed:  # whoever comes next finds what it wrote
                job.over = self._loop.create_future()
                await job.over
            raise
        return done

    def _gather(self) -> None:
        assert self._loop is not None
        until = self._since + GATHER_S
        if self._waiting and not self._stopping and self._is_early() and self._loop.time() < until:
            self._gathering = self._loop.call_at(until, self._hand_over)
        else:
            self._hand_over()

    def _is_early(self) -> bool:
        """Whether others may ask in a moment, and nobody waits who only reads."""
        return len(self._waiting) < min(self._at_work(), GROUP) and all(job.writes for job in self._waiting)

    def _hand_over(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        group = [job for job in self._waiting[:GROUP] if not job.future.cancelled()]
        del self._waiting[:GROUP]
        self._busy = bool(group or self._waiting)
        for job in group:
            job.handed = True
        if self._busy:
            self._groups.put(group)
        elif self._stopping:
            self._groups.put(None)

    def _answer(self, jobs: list[_Job], *, last: bool) -> None:
        for job in jobs:
            job.handed = False
            if job.future.cancelled():
                if job.over is not None and not job.over.done():
                    job.over.set_result(None)
            elif isinstance(job.result, BaseException):
                job.future.set_exception(job.result)
            else:
                job.future.set_result(job.result)
        if last:
            self._gather()

    # From here on in the thread.

    def _work(self) -> None:
        more = True
        while True:
            try:
                group = self._groups.get(timeout=0.0 if more else IDLE_S)
            except Empty:
                more = self._tidied()
                continue
            if group is None:
                break
            reads = [job for job in group if not job.writes]
            writes = [job for job in group if job.writes]
            for job in reads:
                self._read(job)
            if reads and writes:
                self._tell(reads, last=False)
            if writes:
                self._write(writes)
            self._tell(writes or reads, last=True)
            more = bool(writes) and self._tidied()
        self.folder.close()

    def _tell(self, jobs: list[_Job], *, last: bool) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(partial(self._answer, jobs, last=last))

    def _read(self, job: _Job) -> None:
        try:
            job.result = self._mending(job.do)
        except Exception as error:  # whoever asked gets it
            job.result = error

    def _write(self, jobs: list[_Job]) -> None:
        try:
            results = self._mending(lambda table: self._commit(table, jobs), writes=True)
        except Exception as error:
            if len(jobs) > 1:  # one of them may be at fault, or too large for what is left
                for job in jobs:
                    self._write([job])
            else:
                jobs[0].result = error
            return
        for job, result in zip(jobs, results, strict=True):
            job.result = result

    def _commit(self, table: Table, jobs: list[_Job]) -> list[Any]:
        results: list[Any] = []
        with table.writing():
            for job in jobs:
                try:
                    results.append(job.do(table))
                except GatewayError as refused:  # before it wrote anything
                    results.append(refused)
        return results

    def _mending(self, do: Callable[[Table], T], *, writes: bool = False) -> T:
        """Once more with a new table, where the old one is found damaged."""
        table = self.folder.table()
        try:
            try:
                result = do(table)
            except FAILURES as error:
                if not isinstance(translated(error, self.folder.path), StoreDamaged):
                    raise
                self.folder.mend(error)
                result = do(self.folder.table())
        except FAILURES as error:
            raise self.folder.failed(translated(error, self.folder.path)) from error
        self.folder.well(wrote=writes)
        return result

    def _tidied(self) -> bool:
        try:
            return self._mending(self._tidy)
        except StoreError:  # said already
            return False
        except Exception:
            self._log.exception("old sessions could not be removed")
            return False
