"""The rows of the disk store, in a diskcache. Not who asks, nor on which thread: every call here is of one.

A turn is one row and nothing else is written for it. Its key is a hash of its session's name and a number that counts
the session's turns, so a session is a range of keys, and its leaf the last of them. The order of the rows is the order
in which they came, so that the oldest idle session is found by walking from the first row, each once.

What is chosen, is chosen for cards: pages of 512 bytes (of 4 KiB a turn dirties five), the log on disk before a
commit is over (a box may lose its power between two turns), no index but that of the keys, no policy that writes at
a read, and the log's index in memory, not in a file.

diskcache 5.6.3 keeps the table, the keys and the settings. Ranges are read with SQL on its table, for which it has no
call, and a row is put with one statement: its own call looks first, which costs as much again. It pickles whatever is
no text, bytes or number, and so unpickles what somebody put into its file (CVE-2025-69872): `Bytes` refuses both ways.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import diskcache
import msgspec

from moltbot_edge.core.record import Unreadable
from moltbot_edge.stores.recent import Recent

FILE: Final = "cache.db"
PAGE_BYTES: Final = 512
LOG_PAGES: Final = 16_384  # 8 MiB: pages that change often are written to their place once in 2,500 turns
CACHE_KIB: Final = 1024
HASH_BYTES: Final = 12
COUNT_BYTES: Final = 4
MODE_RAW: Final = 1
FIRST, LAST = b"\0" * COUNT_BYTES, b"\xff" * COUNT_BYTES

# As diskcache makes them, but for an index that no row is in, and a count that would dirty one more page of every turn.
SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS Cache (rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL,"
    " expire_time REAL, access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0,"
    " mode INTEGER DEFAULT 0, filename TEXT, value BLOB)",
    "CREATE INDEX IF NOT EXISTS Cache_expire_time ON Cache (expire_time) WHERE expire_time IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS Settings (key TEXT NOT NULL UNIQUE, value)",
    "CREATE TRIGGER IF NOT EXISTS Settings_count_insert AFTER INSERT ON Cache WHEN 0 BEGIN SELECT 1; END",
    "CREATE TRIGGER IF NOT EXISTS Settings_count_delete AFTER DELETE ON Cache WHEN 0 BEGIN SELECT 1; END",
    "DELETE FROM Settings",  # they are this program's, whatever the file says: diskcache would make attributes of them
)


class Label(msgspec.Struct, frozen=True, array_like=True):
    """What is asked of a row without reading it. *size_bytes* is the session's, with this turn; *name* in its first."""

    id: str
    at: float
    size_bytes: int
    name: tuple[str, str] | None = None


class Row(msgspec.Struct, frozen=True):
    number: int
    key: bytes
    label: Label
    value: bytes = b""


# As `Bytes` would have it stored: the key raw, the value raw and in the table.
INSERT: Final = "INSERT INTO Cache (key, raw, tag, mode, value) VALUES "
ROW: Final = f"(?, 1, ?, {MODE_RAW}, ?)"
ROWS: Final = 64  # of a statement

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Label).decode


class Bytes(diskcache.Disk):  # type: ignore[misc]
    """Bytes in the table, and nothing else: no pickle, no file, whatever a row says of itself."""

    def put(self, key: Any) -> tuple[Any, bool]:
        if type(key) is not bytes:
            raise TypeError(f"a key is bytes, not {type(key).__name__}")
        return sqlite3.Binary(key), True

    def get(self, key: Any, raw: Any) -> Any:
        if not raw or type(key) is not bytes:
            raise Unreadable("a key that is not of this program")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, Any]:
        if type(value) is not bytes:
            raise TypeError(f"a value is bytes, not {type(value).__name__}")
        return 0, MODE_RAW, None, sqlite3.Binary(value)

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> Any:
        if mode != MODE_RAW or filename is not None or type(value) is not bytes:
            raise Unreadable("a value that is not of this program")
        return value


class Cache(diskcache.Cache):  # type: ignore[misc]
    """A diskcache with one connection, to which nobody else has a way while it is open."""

    @property
    def _con(self) -> sqlite3.Connection:
        con: sqlite3.Connection | None = getattr(self._local, "con", None)
        if con is None:
            con = self._local.con = connected(Path(self._directory) / FILE)
            self._local.pid = os.getpid()
        return con

    @property
    def sql(self) -> sqlite3.Connection:
        return self._con


def connected(file: Path) -> sqlite3.Connection:
    con = sqlite3.connect(file, timeout=0, isolation_level=None)
    try:
        con.execute(f"PRAGMA page_size={PAGE_BYTES}")  # of a file that is empty
        con.execute("PRAGMA locking_mode=EXCLUSIVE")  # before the first read: the log's index then needs no file
        con.execute("PRAGMA journal_mode=WAL")
        con.execute("PRAGMA synchronous=FULL")
        con.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        con.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        con.execute("PRAGMA trusted_schema=OFF")
    except sqlite3.Error:
        con.close()
        raise
    return con


def prefix(owner: str, session: str) -> bytes:
    name = len(owner.encode()).to_bytes(4, "big") + owner.encode() + session.encode()
    return hashlib.blake2b(name, digest_size=HASH_BYTES).digest()


class Table:
    """Raises `sqlite3.Error`, or what diskcache makes of one: `sqlite_errors` knows."""

    def __init__(self, folder: Path, recent: Recent | None = None) -> None:
        """*folder* is there. What is no store raises `sqlite3.DatabaseError`."""
        self.recent = Recent() if recent is None else recent
        self.recent.clear()
        file = folder / FILE
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))  # the log gets the rights of the file
        con = connected(file)
        try:
            for statement in SCHEMA:
                con.execute(statement)
        finally:
            con.close()
        self._cache = Cache(
            str(folder),
            timeout=0,
            disk=Bytes,
            eviction_policy="none",
            cull_limit=0,
            size_limit=2**60,
            statistics=0,
            tag_index=0,
            disk_min_file_size=2**31,
            sqlite_auto_vacuum=0,
            sqlite_cache_size=-CACHE_KIB,
            sqlite_mmap_size=0,
            sqlite_synchronous=2,
        )
        self._sql = self._cache.sql.execute
        self._new: list[tuple[bytes, bytes, bytes]] = []  # rows that nobody has had to see yet
        self.walked = 0  # up to this row each is of a session that went on after it

    def close(self) -> None:
        """Writes what the log holds to its place."""
        self.recent.clear()
        self._cache.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All that is written within is on the disk at its end, or nothing is.

        Rows alone are one statement: for each one SQLite is let go of the interpreter's lock, and to have that again
        costs a thread more than the statement does.
        """
        con = self._cache.sql
        try:
            yield
            if con.in_transaction or len(self._new) > ROWS:
                self._begin()
                self._sql("COMMIT")
            else:
                self._insert()
        except BaseException:
            self._new.clear()
            self.recent.clear()
            if con.in_transaction:  # SQLite takes back what it cannot write, but not always
                self._sql("ROLLBACK")
            raise
        self.recent.settle()

    def last(self, start: bytes) -> bytes | None:
        """The last key of a session, also of a turn that cannot be read."""
        if self._new:
            self._begin()
        (key,) = self._sql(
            "SELECT max(key) FROM Cache WHERE key >= ? AND key <= ?", (start + FIRST, start + LAST)
        ).fetchone()
        return None if key is None else bytes(key)

    def leaf(self, start: bytes) -> Row | None:
        """The last turn of a session, without what was said."""
        for row in self._rows("key >= ? AND key <= ? ORDER BY key DESC", start + FIRST, start + LAST):
            return row
        return None

    def name(self, start: bytes) -> tuple[str, str] | None:
        """Owner and session."""
        for row in self._rows("key >= ? AND key <= ? ORDER BY key", start + FIRST, start + LAST):
            return row.label.name
        return None

    def turns(self, start: bytes) -> Iterator[Row | Unreadable]:
        """All of a session, in their order; for one that is damaged, what is wrong with it."""
        found = self._sql(
            "SELECT rowid, key, raw, tag, mode, filename, value FROM Cache"
            " WHERE key >= ? AND key <= ? ORDER BY key, raw",
            (start + FIRST, start + LAST),
        )
        for number, key, raw, tag, mode, filename, value in found:
            yield self.read(number, key, raw, tag, mode, filename, value)

    def read(self, number: Any, key: Any, raw: Any, tag: Any, mode: Any, filename: Any, value: Any) -> Row | Unreadable:
        disk = self._cache.disk
        try:
            return Row(int(number), disk.get(key, raw), label(tag), disk.fetch(mode, filename, value, False))
        except Unreadable as error:
            return error

    def put(
        self,
        start: bytes,
        name: tuple[str, str],
        after: Row | None,
        turn_id: str,
        at: float,
        value: bytes,
        weight_bytes: int,
        last: bytes | None,
    ) -> Row:
        """One more turn, *after* its session's leaf. Within `writing`. *last* is of that session."""
        count = counted(last) + 1 if last else 1
        size_bytes = weight_bytes + (after.label.size_bytes if after is not None else 0)
        row = Row(
            0, start + count.to_bytes(COUNT_BYTES, "big"), Label(turn_id, at, size_bytes, None if after else name)
        )
        self.insert(row.key, row.label, value)
        self.recent.expect(start, None)
        return row

    def insert(self, key: bytes, label: Label, value: bytes) -> None:
        """Within `writing`, at whose end it is there, or sooner if somebody looks.

        `sqlite3.IntegrityError` is raised then where there is a row of that key.
        """
        self._new.append((key, _encode(label), value))

    def delete(self, start: bytes) -> None:
        """Within `writing`."""
        self._begin()
        self._sql("DELETE FROM Cache WHERE key >= ? AND key <= ?", (start + FIRST, start + LAST))
        self.recent.expect(start, None)
        self.walk(self.walked)

    def walk(self, number: int) -> None:
        """*number* is walked up to. Of the last rows that leave, SQLite gives the numbers to others."""
        self.walked = min(number, self.last_number())

    def first_after(self, number: int, limit: int) -> list[Row]:
        """The oldest rows whose number is larger than *number*."""
        return list(self._rows("rowid > ? ORDER BY rowid LIMIT ?", number, limit))

    def last_before(self, number: int, limit: int) -> list[Row]:
        return list(self._rows("rowid < ? ORDER BY rowid DESC LIMIT ?", number, limit))

    def last_number(self) -> int:
        return int(self._sql("SELECT coalesce(max(rowid), 0) FROM Cache").fetchone()[0])

    def count(self) -> int:
        return int(self._sql("SELECT count(*) FROM Cache").fetchone()[0])

    def used_bytes(self) -> int:
        """Without what is free in the file."""
        (pages,), (free,) = self._sql("PRAGMA page_count").fetchone(), self._sql("PRAGMA freelist_count").fetchone()
        return int(pages - free) * PAGE_BYTES

    def compact(self) -> None:
        self._sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._sql("VACUUM")
        self._sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _begin(self) -> None:
        if not self._cache.sql.in_transaction:
            self._sql("BEGIN IMMEDIATE")
        self._insert()

    def _insert(self) -> None:
        while rows := self._new[:ROWS]:
            del self._new[:ROWS]
            self._sql(INSERT + ",".join([ROW] * len(rows)), [value for row in rows for value in row])

    def _rows(self, where: str, *values: object) -> Iterable[Row]:
        if self._new:
            self._begin()
        for number, key, raw, tag in self._sql(f"SELECT rowid, key, raw, tag FROM Cache WHERE {where}", values):
            try:
                yield Row(int(number), self._cache.disk.get(key, raw), label(tag))
            except Unreadable:  # said when its session is read
                continue


def label(tag: Any) -> Label:
    if type(tag) is not bytes:
        raise Unreadable("a row that is not of this program")
    try:
        return _decode(tag)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(str(error)) from error


def counted(key: bytes) -> int:
    return int.from_bytes(key[HASH_BYTES:], "big")
