"""The counts of `gateway.experience` in a file: read at the start, written now and then and at the end.

Counts, models' names and kinds of requests, as JSON; nothing of what anybody asked. A file that cannot be read costs
what was learned and no more: the log says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from types import TracebackType

import msgspec

from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.gateway.experience import Experience, Kept

SAVE_S = 900.0  # an SD card wears out by writing, and a quarter of an hour teaches little
VERSION = 1

log = logging.getLogger(__name__)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    tallies: list[Kept]


class Keeping:
    """While entered, *experience* is kept in *path*; with None it is not."""

    def __init__(self, experience: Experience, path: Path | None, save_s: float = SAVE_S) -> None:
        self._experience = experience
        self._path = path
        self._save_s = save_s
        self._saved = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        if self._path is None:
            return
        self._experience.remember(read(self._path))
        self._saved = self._experience.changes
        self._task = asyncio.get_running_loop().create_task(self._save_now_and_then())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._save()

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._save_s)
            await self._save()

    async def _save(self) -> None:
        changes = self._experience.changes
        if self._path is None or changes == self._saved:
            return
        kept = self._experience.kept()
        try:
            await asyncio.to_thread(write, self._path, kept)
        except OSError as error:
            log.warning("what was learned is not kept: %s: %s", self._path, error.strerror)
            return
        self._saved = changes


def read(path: Path) -> list[Kept]:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("what was learned before cannot be read: %s: %s", path, error.strerror)
        return []
    except UNREADABLE as error:
        log.warning("what was learned before cannot be read: %s is none of our files: %s", path, error)
        return []
    if found.version != VERSION:
        log.warning("what was learned before is left alone: %s is of version %d", path, found.version)
        return []
    return found.tallies


def write(path: Path, kept: list[Kept]) -> None:
    """Whole or not at all. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    with open(beside, "wb") as file:
        file.write(msgspec.json.encode(_File(VERSION, kept)))
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
