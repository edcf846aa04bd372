"""The disk store's folder: who may use it, and its table, opened anew after what went wrong. Used by one thread."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from moltbot_edge.api import StoreDamaged, StoreError, StoreFull, StoreLocked, StoreReadOnly
from moltbot_edge.stores import salvage
from moltbot_edge.stores.recent import Recent
from moltbot_edge.stores.sqlite_errors import WORDS, translated
from moltbot_edge.stores.table import FILE, Table

LOCK: Final = "lock"
AGAIN_S: Final = 1.0  # a card that is gone need not be asked at every request


class Folder:
    """*clock* is seconds since 1970. `trouble` is what went wrong last, None since all is well."""

    def __init__(self, path: Path, clock: Callable[[], float], log: logging.Logger, recent: Recent) -> None:
        self.path = path
        self.trouble: StoreError | None = None
        self._clock = clock
        self._log = log
        self._recent = recent
        self._lock: int | None = None
        self._table: Table | None = None
        self._tried = 0.0

    def table(self) -> Table:
        """Raises `StoreError`, as often as it is asked while nothing is better."""
        if self._table is not None:
            return self._table
        if self.trouble is not None and 0 <= self._clock() - self._tried < AGAIN_S:
            raise self.trouble
        self._tried = self._clock()
        try:
            self._own()
            if (aside := salvage.unfinished(self.path)) is not None:
                self._carry_over(aside, "and the gateway ended before all was carried over")
            else:
                self._open()
        except (sqlite3.Error, OSError) as error:
            raise self.failed(translated(error, self.path)) from error
        except StoreError as error:
            raise self.failed(error) from error.__cause__
        self.well()
        assert self._table is not None
        return self._table

    def size_bytes(self) -> int:
        """From any thread."""
        total = 0
        for file in (FILE, FILE + "-wal"):
            with suppress(OSError):
                total += os.stat(self.path / file).st_size
        return total

    def well(self, wrote: bool = True) -> None:
        """That it can be read says nothing of whether it can be written."""
        if self.trouble is not None and (wrote or not isinstance(self.trouble, StoreFull | StoreReadOnly)):
            self.trouble = None

    def failed(self, error: StoreError) -> StoreError:
        """*error*, known from now on; who asked says it. A table that can only not be written is still read."""
        self.trouble = error
        if not isinstance(error, StoreFull | StoreReadOnly):
            self._close_table()
        return error

    def mend(self, error: BaseException) -> None:
        """The table that was found damaged at work is set aside. Raises `StoreError`."""
        self._close_table()
        try:
            self._renew(error)
        except (sqlite3.Error, OSError) as again:
            raise self.failed(translated(again, self.path)) from again

    def close(self) -> None:
        self._close_table()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _own(self) -> None:
        if self._lock is not None:
            return
        os.makedirs(self.path, 0o700, exist_ok=True)
        if os.stat(self.path).st_mode & 0o077:
            os.chmod(self.path, 0o700)
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            if not isinstance(error, BlockingIOError):
                raise
            words = WORDS[StoreLocked].format(folder=self.path)
            raise StoreLocked(f"{words} ({holder})", retry_after_s=5.0) from error
        self._lock = lock
        with suppress(OSError):  # it only tells others who has it, and a disk may be full
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    def _open(self) -> None:
        try:
            self._table = Table(self.path, self._recent)
        except (sqlite3.Error, TypeError, ValueError, AttributeError) as error:
            # diskcache makes attributes and arguments of what a file says: one that makes it stumble is damaged.
            if not self._is_damage(error):
                raise
            self._renew(error)

    def _renew(self, error: BaseException) -> None:
        self._carry_over(salvage.set_aside(self.path, self._clock()), error)

    def _carry_over(self, aside: Path, why: object) -> None:
        self._table = Table(self.path, self._recent)
        try:
            turns = salvage.carried_over(aside, self._table)
        finally:  # also on a disk that is full: what went over is served, the rest stays in the file
            salvage.finish(self.path)
        self._log.error(
            "the sessions in %s were damaged (%s): they are set aside as %s; %d turns could be read and are kept",
            *(self.path, why, aside.name, turns),
        )

    def _is_damage(self, error: BaseException) -> bool:
        return not isinstance(error, sqlite3.Error) or isinstance(translated(error, self.path), StoreDamaged)

    def _close_table(self) -> None:
        if self._table is not None:
            with suppress(sqlite3.Error):  # what is in the log stays there
                self._table.close()
            self._table = None
