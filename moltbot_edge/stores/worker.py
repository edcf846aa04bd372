"""The one thread that reads and writes the disk store. What is asked meanwhile is written together, by one commit.

A commit takes a card some 20 ms, whatever is in it; the event loop never waits for one, only who asked does.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

from diskcache import Timeout

from moltbot_edge.api import GatewayError, Overloaded, StoreDamaged, StoreError
from moltbot_edge.stores.folder import Folder
from moltbot_edge.stores.sqlite_errors import translated
from moltbot_edge.stores.table import Table

T = TypeVar("T")

GROUP: Final = 64  # writes of a commit
PENDING: Final = 1024  # that wait for the thread; each holds a turn
IDLE_S: Final = 60.0
FAILURES: Final = (sqlite3.Error, OSError, Timeout)


class _Job(NamedTuple):
    do: Callable[[Table], Any]
    writes: bool
    future: Future[Any]


class Worker:
    """*tidy* is called when something was written, and once a minute when nothing is asked; True: there is more."""

    def __init__(self, folder: Folder, tidy: Callable[[Table], bool], log: logging.Logger) -> None:
        self.folder = folder
        self._tidy = tidy
        self._log = log
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._pending = 0
        self._thread = threading.Thread(target=self._work, name="sessions", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """What was asked before is done."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def ask(self, do: Callable[[Table], T], *, writes: bool = False) -> T:
        """Raises `StoreError`, and what *do* raises. A cancelled write is done, or not begun."""
        if self._pending >= PENDING:
            raise Overloaded(f"{self._pending} reads and writes of sessions wait for the disk", retry_after_s=5.0)
        job = _Job(do, writes, Future())
        self._pending += 1
        try:
            self._jobs.put(job)
            done: T = await asyncio.wrap_future(job.future)
            return done
        finally:
            self._pending -= 1

    # From here on in the thread.

    def _work(self) -> None:
        more = True
        stopped = False
        while not stopped:
            jobs, stopped = self._next(0.0 if more else IDLE_S)
            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            for job in jobs:
                if not job.writes:
                    self._read(job)
            if writes := [job for job in jobs if job.writes]:
                self._write(writes)
            if not stopped:
                more = (bool(writes) or not jobs) and self._tidied()
        self.folder.close()

    def _next(self, wait_s: float) -> tuple[list[_Job], bool]:
        """What is asked now, and whether that was the last."""
        jobs: list[_Job] = []
        try:
            job = self._jobs.get(timeout=wait_s) if wait_s else self._jobs.get_nowait()
            while job is not None:
                jobs.append(job)
                if len(jobs) == GROUP:
                    return jobs, False
                job = self._jobs.get_nowait()
        except Empty:
            return jobs, False
        return jobs, True

    def _read(self, job: _Job) -> None:
        try:
            result = self._mending(job.do)
        except Exception as error:  # whoever asked gets it
            job.future.set_exception(error)
        else:
            job.future.set_result(result)

    def _write(self, jobs: list[_Job]) -> None:
        try:
            results = self._mending(lambda table: self._commit(table, jobs), writes=True)
        except Exception as error:
            if len(jobs) > 1:  # one of them may be at fault, or too large for what is left
                for job in jobs:
                    self._write([job])
            else:
                jobs[0].future.set_exception(error)
            return
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, GatewayError):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

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
