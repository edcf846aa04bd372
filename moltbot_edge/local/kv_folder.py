"""The folder of saved caches: its files, and the index that says what they are. Not which to save: `kv`.

An engine writes under a name that nobody loads; what is whole gets its own name, its checksum and a place in the
index. Loaded is only what the index names and whose bytes are still those: an engine that is given half a file ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
from binascii import crc32
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from moltbot_edge.local.kv import Entry, Index, leaving

INDEX = "index.json"
INDEX_BYTES = 8 * 1024 * 1024  # sixty-four conversations of five hundred messages take 500 KiB
LOCK = "lock"
PART = "part-"
FREE_BYTES = 256 * 1024 * 1024  # left on the disk for everybody else
ENTRIES = 256
PIECE_BYTES = 1024 * 1024
SYSTEM, OWN = Path("/var/cache"), "moltbot-edge"

_OURS = re.compile(r"[0-9a-f]{64}\.kv|part-[0-9a-f]+")
_decode = msgspec.json.Decoder(Index).decode


class Unusable(Exception):
    """Why no caches are kept."""


def folder_for(setting: str | None, environment: Mapping[str, str], system: Path = SYSTEM) -> Path:
    """Where caches lie: as the configuration says, or XDG; else where services keep theirs; else in a home."""
    if setting is not None:
        return Path(setting)
    said, home = environment.get("XDG_CACHE_HOME", ""), environment.get("HOME", "")
    below = system
    if said.startswith("/"):
        below = Path(said)
    elif home.startswith("/") and not any(os.access(place, os.W_OK) for place in (system / OWN, system)):
        below = Path(home) / ".cache"
    return below / OWN / "kv"


class KvFolder:
    """Opened when the first engine starts. *clock* gives seconds since 1970. `index` is the copy that changes."""

    def __init__(self, path: Path, limit_bytes: int, log: logging.Logger, clock: Callable[[], float]) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self.index = Index()
        self._log = log
        self._clock = clock
        self._lock: int | None = None
        self._tried = False
        self._complained = False
        self._parts: set[str] = set()  # that an engine is writing

    def usable(self) -> bool:
        """Opens it, once, and again where somebody took it away. What is wrong with it is said once."""
        if self._lock is not None and not self.path.is_dir():  # with which no engine would start
            self.close()
            self._tried = False
        if not self._tried:
            self._tried = True
            try:
                self._open()
            except (OSError, Unusable) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                self._log.warning("no caches of engines are kept: %s: %s (`engines.kv_path`)", self.path, reason)
                self.close()
        return self._lock is not None

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def complain(self, what: str) -> None:
        """Once, until something was saved again: a full disk is full at every save."""
        if not self._complained:
            self._complained = True
            self._log.warning("a cache could not be saved to %s: %s", self.path, what)

    def make_room(self, need_bytes: int) -> bool:
        """For a file of so many bytes; what is worth least goes."""
        gone = leaving(self.index, need_bytes, self.limit_bytes, self._clock())
        if gone is None:
            return False
        self.remove(*gone)
        self._sweep()
        try:
            disk = os.statvfs(self.path)
        except OSError as error:
            self.complain(error.strerror or str(error))
            return False
        if disk.f_bavail * disk.f_frsize < need_bytes + FREE_BYTES:
            self.complain(f"less than {(need_bytes + FREE_BYTES) >> 20} MiB are free")
            return False
        return True

    def part(self, file: str) -> str:
        """A name under which an engine may write *file*, until it is `keep` or `discard`."""
        name = f"{PART}{file[:32]}"
        self._parts.add(name)
        return name

    async def keep(self, part: str, entry: Entry) -> Entry:
        """Give what was written as *part* the name of *entry*, and its checksum. Raises `OSError`."""
        size, checksum = await asyncio.to_thread(_checksum, self.path / part)
        if size != entry.size_bytes:
            raise OSError(f"{size} bytes are there of {entry.size_bytes}")
        os.replace(self.path / part, self.path / entry.file)
        mtime_ns = (self.path / entry.file).stat().st_mtime_ns
        entry = msgspec.structs.replace(entry, checksum=checksum, mtime_ns=mtime_ns)
        entries = [*(one for one in self.index.entries if one.file != entry.file), entry]
        for one in entries[:-ENTRIES]:
            self.discard(one.file)
        self._change(msgspec.structs.replace(self.index, entries=tuple(entries[-ENTRIES:])))
        self._complained = False
        return entry

    async def is_whole(self, entry: Entry) -> bool:
        """Are the bytes of its file those that were saved?"""
        file = self.path / entry.file
        try:
            state = file.lstat()
            if not _is(entry, state):
                return False
            return await asyncio.to_thread(_checksum, file) == (entry.size_bytes, entry.checksum)
        except OSError:
            return False

    def discard(self, part: str) -> None:
        self._parts.discard(part)
        with suppress(OSError):
            (self.path / part).unlink()

    def remove(self, *entries: Entry) -> None:
        for entry in entries:
            self.discard(entry.file)
        if entries:
            self._change(self.index.without(entries))

    def learned(self, index: Index) -> None:
        """With what is not worth a write of its own: it goes out with the next save."""
        self.index = index

    def _change(self, index: Index) -> None:
        self.index = index
        new = self.path / f"{INDEX}.new"
        try:
            new.write_bytes(msgspec.json.encode(index))
            os.replace(new, self.path / INDEX)
        except OSError as error:
            self.complain(str(error))

    def _sweep(self) -> None:
        """What an engine wrote after nobody waited for it any more."""
        with suppress(OSError):
            for name in os.listdir(self.path):
                if name.startswith(PART) and name not in self._parts:
                    self.discard(name)

    def _open(self) -> None:
        import fcntl

        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = self.path.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
            raise Unusable("it is not a folder of this user's own")
        names = set(os.listdir(self.path))
        if state.st_mode & 0o077:
            if names:
                raise Unusable("it is open to others and holds files; expected a folder of its own")
            self.path.chmod(0o700)
        self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable("another gateway uses it") from None
        self.index = self._read_index()
        known = {entry.file for entry in self.index.entries}
        for name in names:
            if _OURS.fullmatch(name) and name not in known:
                self.discard(name)

    def _read_index(self) -> Index:
        """Without files that are gone, or are no longer what was saved."""
        try:
            with (self.path / INDEX).open("rb") as opened:
                index = _decode(opened.read(INDEX_BYTES))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Index()
        there = []
        for entry in index.entries[-ENTRIES:]:
            with suppress(OSError):
                if _OURS.fullmatch(entry.file) and _is(entry, (self.path / entry.file).lstat()):
                    there.append(entry)
        return msgspec.structs.replace(index, entries=tuple(there))


def _is(entry: Entry, state: os.stat_result) -> bool:
    return stat.S_ISREG(state.st_mode) and (state.st_size, state.st_mtime_ns) == (entry.size_bytes, entry.mtime_ns)


def _checksum(file: Path) -> tuple[int, int]:
    """Bytes and checksum. Reads all of it, which warms it for the engine that loads it next."""
    size = checksum = 0
    with file.open("rb", buffering=0) as opened:
        while piece := opened.read(PIECE_BYTES):
            size += len(piece)
            checksum = crc32(piece, checksum)
    return size, checksum
