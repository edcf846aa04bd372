"""What SQLite says, in the words of the tree. Source: sqlite.org, "Result and Error Codes"."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from moltbot_edge.api import StoreDamaged, StoreError, StoreFull, StoreLocked, StoreReadOnly, StoreUnreachable

BY_CODE: Final[Mapping[int, type[StoreError]]] = {
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_READONLY: StoreReadOnly,
    sqlite3.SQLITE_BUSY: StoreLocked,
    sqlite3.SQLITE_LOCKED: StoreLocked,
    sqlite3.SQLITE_CORRUPT: StoreDamaged,
    sqlite3.SQLITE_NOTADB: StoreDamaged,
}
BY_ERRNO: Final[Mapping[int, type[StoreError]]] = {
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
    errno.EROFS: StoreReadOnly,
    errno.EACCES: StoreReadOnly,
    errno.EPERM: StoreReadOnly,
}
WORDS: Final[Mapping[type[StoreError], str]] = {
    StoreFull: "no space is left for the sessions in {folder}: make room on that disk, or give `sessions.path` another",
    StoreReadOnly: "sessions cannot be written in {folder}, it is read-only: a card that fails becomes so; see dmesg",
    StoreLocked: "one gateway at a time has the sessions in {folder}, and they are in use by another process",
    StoreDamaged: "the sessions in {folder} are damaged",
    StoreUnreachable: "the sessions in {folder} cannot be reached: give `sessions.path` a folder on a disk that works",
}
NOT_ALLOWED: Final = "sessions cannot be written in {folder}: let user {user} have it, or give `sessions.path` another"
LEFT_BYTES: Final = 64 * 1024  # with less, what fails fails for that


def translated(error: BaseException, folder: Path) -> StoreError:
    """Of a `sqlite3.Error` or an `OSError`, or what diskcache made of one: the first of the chain says what it is."""
    first: BaseException | None = error
    while first is not None and not isinstance(first, sqlite3.Error | OSError):
        first = first.__context__
    kind: type[StoreError] | None = None
    if isinstance(first, OSError):
        kind = BY_ERRNO.get(first.errno or 0)
    elif isinstance(first, sqlite3.Error):
        kind = BY_CODE.get(getattr(first, "sqlite_errorcode", 0) & 0xFF)
    kind = kind or _by_disk(folder) or StoreUnreachable
    not_allowed = isinstance(first, OSError) and first.errno in (errno.EACCES, errno.EPERM)
    words = NOT_ALLOWED if not_allowed else WORDS[kind]
    return kind(f"{words.format(folder=folder, user=os.geteuid())} ({first or error})", retry_after_s=5.0)


def _by_disk(folder: Path) -> type[StoreError] | None:
    """A failed read or write, or a file that does not open, says nothing of why."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    if disk.f_flag & os.ST_RDONLY:
        return StoreReadOnly
    return StoreFull if disk.f_bavail * disk.f_frsize < LEFT_BYTES else None
