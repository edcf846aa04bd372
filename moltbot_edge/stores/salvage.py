"""A damaged file of the disk store: set aside under the time, and what can be read of it carried over.

SQLite finds damage where it reads, and what lies elsewhere is sound: rows are asked for one after the other, and
around what does not answer. A turn whose own bytes were changed is found by its checksum when its session is read.

It takes a card a minute, in which somebody may pull the plug: it is then done once more, from its beginning.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from moltbot_edge.stores.table import FILE, Row, Table, connected

BESIDE: Final = ("-wal", "-shm", "-journal")
BEGUN: Final = "salvage"  # names the file from which turns are carried over, while they are
GROUP: Final = 256  # rows of a commit
FARTHEST: Final = 2**40  # no store has had so many turns


def set_aside(folder: Path, at: float) -> Path:
    """The new name of the file, whose log goes with it. Raises `OSError`."""
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
    target, again = folder / f"{FILE}.damaged-{stamp}", 1
    while target.exists():
        again += 1
        target = folder / f"{FILE}.damaged-{stamp}-{again}"
    with (folder / BEGUN).open("w") as begun:
        begun.write(target.name)
        begun.flush()
        os.fsync(begun.fileno())
    _sync(folder)
    _rename(folder, target)
    return target


def unfinished(folder: Path) -> Path | None:
    """The file that was set aside and not carried over to its end; of the new one nothing is left. Raises `OSError`."""
    try:
        name = (folder / BEGUN).read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return None
    target = folder / Path(name).name
    if not name.startswith(f"{FILE}.damaged-") or not target.exists():
        finish(folder)
        return None
    if (folder / FILE).exists():
        for end in ("", *BESIDE):
            (folder / (FILE + end)).unlink(missing_ok=True)
    else:
        _rename(folder, target)
    return target


def finish(folder: Path) -> None:
    (folder / BEGUN).unlink(missing_ok=True)
    _sync(folder)


def carried_over(file: Path, table: Table) -> int:
    """How many turns of *file* are in *table* now. Raises `sqlite3.Error` for what is wrong with *table*."""
    carried = 0
    try:
        con = connected(file)
    except sqlite3.Error:  # not even a database
        return 0
    try:
        group: list[Row] = []
        for row in _readable(con, table):
            group.append(row)
            if len(group) == GROUP:
                carried += _put(table, group)
                group = []
        carried += _put(table, group)
    finally:
        con.close()
    return carried


def _rename(folder: Path, target: Path) -> None:
    for end in ("", *BESIDE):
        file = folder / (FILE + end)
        if file.exists():
            file.rename(target.with_name(target.name + end))
    _sync(folder)


def _sync(folder: Path) -> None:
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def _put(table: Table, rows: list[Row]) -> int:
    with table.writing():
        for row in rows:
            table.insert(row.key, row.label, row.value)
    return len(rows)


def _readable(con: sqlite3.Connection, table: Table) -> Iterator[Row]:
    at: int | None = 0
    seen: set[bytes] = set()
    while at is not None:
        try:
            for found in con.execute(
                "SELECT rowid, key, raw, tag, mode, filename, value FROM Cache WHERE rowid > ? ORDER BY rowid", (at,)
            ):
                at = int(found[0])
                row = table.read(*found)
                if isinstance(row, Row) and row.key not in seen:
                    seen.add(row.key)
                    yield row
            return
        except sqlite3.Error:
            at = _beyond(con, at)


def _beyond(con: sqlite3.Connection, at: int) -> int | None:
    """A number after which rows can be asked for again; None where there is nothing more."""
    following = _next(con, at)
    if following is not None:  # it has a number, and its value is damaged
        return following or None
    step = 1
    while step < FARTHEST and _next(con, at + step) is None:
        step *= 2
    if step >= FARTHEST:
        return None
    failing, answering = at + step // 2, at + step
    while answering - failing > 1:
        middle = (failing + answering) // 2
        if _next(con, middle) is None:
            failing = middle
        else:
            answering = middle
    return answering if _next(con, answering) else None


def _next(con: sqlite3.Connection, at: int) -> int | None:
    """The number of the row after *at*, 0 where there is none, None where that cannot be read."""
    try:
        found: Any = con.execute("SELECT rowid FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT 1", (at,)).fetchone()
    except sqlite3.Error:
        return None
    return int(found[0]) if found else 0
