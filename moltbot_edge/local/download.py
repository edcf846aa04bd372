"""One file from the network to the model store: resumed after a cut, checked, and under its name only once it is whole.

What has come so far stands beside it as ``NAME.part``, and ``NAME.part.json`` says of what: its URL and the validator
that the server gave, so that a file that has changed meanwhile is fetched from its beginning. Not here: which file.

Sources: RFC 9110, 13 (If-Range) and 14 (Range, 416); the hub's ``X-Linked-ETag``, the SHA-256 of what it redirects to.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import io
import os
import re
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from moltbot_edge.http_client import URL, AsyncClient, HTTPError, InvalidURL, Response
from moltbot_edge.local.hub import PullError, Wanted

MAGIC: Final = b"GGUF"
WRITE_BYTES: Final = 1024 * 1024  # at once: a card's own block, and 5 ms of hashing on a Pi 4
HOPS: Final = 5  # redirects, as curl's users allow; a hub needs one or two
CUTS: Final = 5  # in a row without a byte
PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0)  # after each of them
TELL_BYTES: Final = 4 * 1024 * 1024  # between two looks at how far it has come
RESERVE_BYTES: Final = 256 * 1024 * 1024  # stay free on the disk, or a twentieth of it if that is less: logs, caches
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Came(msgspec.Struct, frozen=True):
    """How far a file has come. *total_bytes* None: the server does not say. *note*: something worth telling."""

    bytes: int
    total_bytes: int | None
    note: str | None = None


class Arrived(msgspec.Struct, frozen=True):
    """It is there, whole. *fetched* False: it was before."""

    file: Path
    sha256: str
    fetched: bool = True


class _Note(msgspec.Struct):
    """What a part is of. *validator* is for ``If-Range``: a strong entity tag, or nothing."""

    url: str
    validator: str | None = None
    linked: str | None = None
    total: int | None = None


class _Cut(Exception):
    """The connection ended too soon, or the server is busy: it may go on."""


class Access(msgspec.Struct, frozen=True):
    """*token* is sent to the host of *hub* and to no other."""

    hub: str
    token: str | None = None

    def headers_for(self, url: URL) -> dict[str, str]:
        hub = URL(self.hub)
        if self.token is None or (url.scheme, url.host, url.port) != (hub.scheme, hub.host, hub.port):
            return {}
        return {"Authorization": f"Bearer {self.token}"}


async def download(
    client: AsyncClient,
    access: Access,
    wanted: Wanted,
    folder: Path,
    pauses_s: tuple[float, ...] = PAUSES_S,
) -> AsyncGenerator[Came | Arrived]:
    """The last of what it yields is `Arrived`. Raises `hub.PullError`; what has come stays for the next time.

    Except what turned out to be another file than was wanted. Leaving it in between leaves a part behind as well.
    """
    target = folder / wanted.name
    if target.exists():
        yield await _already_there(target, wanted)
        return
    part = _Part(folder, wanted)
    try:
        part.open()
        cuts = 0
        while True:
            before = part.bytes
            try:
                async for came in part.fetched(client, access):
                    yield came
                break
            except _Cut as cut:
                cuts = 1 if part.bytes > before else cuts + 1
                if cuts >= CUTS:
                    raise PullError(
                        f"{wanted.name}: {cut}; asked {CUTS} times. The next pull goes on from here"
                    ) from cut
                pause_s = pauses_s[min(cuts, len(pauses_s)) - 1]
                yield Came(part.bytes, part.total, f"{cut}; goes on in {pause_s:g} s")
                await asyncio.sleep(pause_s)
        digest = await part.finish(target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise PullError(f"{folder} is full: {part.lacking()}. The next pull goes on from here") from error
        raise PullError(f"{error.filename or folder}: {error.strerror}") from error
    finally:
        part.close()
    yield Arrived(target, digest)


async def _already_there(target: Path, wanted: Wanted) -> Arrived:
    digest, size = await asyncio.to_thread(lambda: (_sha256(target), target.stat().st_size))
    if wanted.sha256 is not None and digest != wanted.sha256:
        raise PullError(f"{target} is there, and is another file: remove it, or rename it, and pull again")
    if wanted.bytes is not None and size != wanted.bytes:
        raise PullError(f"{target} is there, and has another size: remove it, or rename it, and pull again")
    return Arrived(target, digest, fetched=False)


def check_room(folder: Path, need_bytes: int) -> None:
    """Raises `hub.PullError` with the numbers."""
    disk = shutil.disk_usage(folder)
    reserve = min(RESERVE_BYTES, disk.total // 20)
    if need_bytes > disk.free - reserve:
        raise PullError(
            f"{folder} has {_mib(disk.free)} MiB free, of which {_mib(reserve)} stay free, and {_mib(need_bytes)} MiB"
            " are needed: remove a model, or set model_store to a larger disk"
        )


def bytes_there(folder: Path, wanted: Wanted) -> int:
    """What of *wanted* need not be fetched any more, as far as is known before anybody was asked."""
    for file in (folder / wanted.name, folder / f"{wanted.name}.part"):
        with suppress(OSError):
            return file.stat().st_size
    return 0


class _Part:
    """What has come so far of one file. *bytes* are on the disk, or about to be."""

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        self.bytes = 0
        self.total = wanted.bytes
        self._folder = folder
        self._wanted = wanted
        self._path = folder / f"{wanted.name}.part"
        self._note_path = folder / f"{wanted.name}.part.json"
        self._note = _Note(wanted.url)
        self._file: io.FileIO | None = None
        self._hash = hashlib.sha256()
        self._hashed = 0

    def open(self) -> None:
        """Raises `hub.PullError` where another pull has it open."""
        self._file = self._path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PullError(f"{self._wanted.name} is being pulled already") from error
        try:
            known = msgspec.json.decode(self._note_path.read_bytes(), type=_Note)
        except (OSError, msgspec.DecodeError):
            known = None
        if known is None or known.url != self._wanted.url:
            self._restart()
        else:
            self._note = known
            self.bytes = self._path.stat().st_size
            self.total = self.total if self.total is not None else known.total

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def lacking(self) -> str:
        total = self.total
        return "" if total is None else f"of {_mib(total)} MiB {_mib(total - self.bytes)} are still to come"

    async def fetched(self, client: AsyncClient, access: Access) -> AsyncGenerator[Came]:
        """Until all of it has come. Raises `_Cut` where it may go on, `hub.PullError` where it may not."""
        if self.total is not None and self.bytes == self.total and self.bytes:
            return
        asked_from = self.bytes if self._can_resume() else 0
        try:
            async with self._answer(client, access, asked_from) as response:
                said = self._accept(response, asked_from)
                if said is not None:
                    yield Came(self.bytes, self.total, said)
                if response.status_code == 416:
                    return
                if self.total is not None:
                    check_room(self._folder, self.total - self.bytes)
                async for came in self._read(response):
                    yield came
        except HTTPError as error:
            raise _Cut(f"{error.__class__.__name__}: {error}" if str(error) else error.__class__.__name__) from error
        if self.total is not None and self.bytes < self.total:
            raise _Cut(f"it ended after {_mib(self.bytes)} of {_mib(self.total)} MiB")
        self.total = self.bytes

    async def finish(self, target: Path) -> str:
        """Give it its name, if it is what was wanted. Its SHA-256."""
        wanted = self._wanted.sha256
        digest = await asyncio.to_thread(self._digest)
        if (wanted is not None and digest != wanted) or self.bytes != self.total:
            self._forget()
            raise PullError(
                f"{self._wanted.name} is not what was wanted, and was removed: its SHA-256 is {digest},"
                f" and {wanted} was expected"
            )
        assert self._file is not None
        await asyncio.to_thread(os.fsync, self._file.fileno())
        self._path.rename(target)
        self._note_path.unlink(missing_ok=True)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # else a power cut may take the name back
        finally:
            os.close(folder)
        return digest

    @asynccontextmanager
    async def _answer(self, client: AsyncClient, access: Access, asked_from: int) -> AsyncIterator[Response]:
        """Redirects are followed, but not from https to http."""
        url = _url(self._wanted.url)
        for _ in range(HOPS):
            headers = {"Accept-Encoding": "identity", **access.headers_for(url)}
            if asked_from:
                headers["Range"] = f"bytes={asked_from}-"
                if self._note.validator is not None:
                    headers["If-Range"] = self._note.validator
            async with client.stream("GET", url, headers=headers) as response:
                self._heed_link(response)
                if response.status_code not in REDIRECTS or "location" not in response.headers:
                    yield response
                    return
                target = url.join(response.headers["location"])
            if url.scheme == "https" and target.scheme != "https":
                raise PullError(f"{url.host} leads from https to {target.scheme}, which is not followed")
            url = target
        raise PullError(f"{self._wanted.url} leads on and on: {HOPS} redirects")

    def _heed_link(self, response: Response) -> None:
        """The hub itself says what is behind its redirect: its checksum, if nobody else has said one."""
        linked = response.headers.get("x-linked-etag", "").removeprefix("W/").strip('"').lower()
        if not re.fullmatch(r"[0-9a-f]{64}", linked):
            return
        if self._note.linked not in (None, linked):
            self._restart()
        self._note.linked = linked
        if self._wanted.sha256 is None:
            self._wanted = msgspec.structs.replace(self._wanted, sha256=linked)

    def _accept(self, response: Response, asked_from: int) -> str | None:
        """Take in what the answer says of the file. What there is to tell of it."""
        status, headers = response.status_code, response.headers
        validator = headers.get("etag", "")
        if status == 206 and self.bytes == asked_from:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("content-range", ""))
            if found is not None and int(found[1]) == asked_from and found[2] in ("*", str(self.total)):
                return f"goes on after {_mib(asked_from)} MiB" if asked_from else None
        if status == 416 and asked_from:
            found = re.fullmatch(r"bytes \*/(\d+)", headers.get("content-range", ""))
            if found is not None and int(found[1]) == self.bytes:
                self.total = self.bytes
                return None
        if status in (206, 416):
            self._restart()
            raise _Cut("it is not what it was: from the beginning")
        if status != 200:
            self._refused(response)
        length = headers.get("content-length", "")
        size = int(length) if length.isdigit() and "content-encoding" not in headers else None
        if self._wanted.bytes is not None and size not in (None, self._wanted.bytes):
            raise PullError(f"{self._wanted.name} has {size} bytes there, and {self._wanted.bytes} were expected")
        linked = self._note.linked
        self._restart()
        self.total = size if size is not None else self._wanted.bytes
        strong = validator.startswith('"')
        self._note = _Note(self._wanted.url, validator if strong else None, linked, self.total)
        self._note_path.write_bytes(msgspec.json.encode(self._note))
        return "from the beginning: it has changed, or cannot be resumed" if asked_from else None

    def _refused(self, response: Response) -> None:
        status, host = response.status_code, response.url.host
        if status in TRY_AGAIN:
            raise _Cut(f"{host} answered {status}")
        if status in (401, 403):
            raise PullError(
                f"{host} answered {status}: it is not for everybody, or not there. Accept its terms on its page,"
                " and set HF_TOKEN to a token of yours"
            )
        if status == 404:
            raise PullError(f"{host} has no such file: {response.url.path}")
        raise PullError(f"{host} answered {status} for {response.url.path}")

    async def _read(self, response: Response) -> AsyncGenerator[Came]:
        told = self.bytes
        held = bytearray()
        try:
            async for piece in response.aiter_raw(65536):
                held += piece
                if len(held) >= WRITE_BYTES:
                    await self._write(held)
                    if self.bytes - told >= TELL_BYTES:
                        told = self.bytes
                        check_room(self._folder, (self.total or self.bytes) - self.bytes)
                        yield Came(self.bytes, self.total)
        finally:
            if held:
                await self._write(held)
        yield Came(self.bytes, self.total)

    async def _write(self, held: bytearray) -> None:
        """And empty *held*."""
        data = bytes(held)
        held.clear()
        if self.bytes == 0 and data[:4] != MAGIC[: len(data)]:
            self._forget()
            raise PullError(f"{self._wanted.url} is no GGUF file: it begins with {data[:16]!r}")
        if self.total is not None and self.bytes + len(data) > self.total:
            self._forget()
            raise PullError(f"{self._wanted.name} is longer than the {self.total} bytes that were promised")
        work = asyncio.ensure_future(asyncio.to_thread(self._append, memoryview(data)))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait({work})  # the file must not be closed under it
            raise

    def _append(self, data: memoryview) -> None:
        assert self._file is not None
        while data:
            written = self._file.write(data)
            if self._hashed == self.bytes:
                self._hash.update(data[:written])
                self._hashed += written
            self.bytes += written
            data = data[written:]

    def _digest(self) -> str:
        """What was there before this run is read for it once, at the end."""
        return self._hash.hexdigest() if self._hashed == self.bytes else _sha256(self._path)

    def _can_resume(self) -> bool:
        """Only where something will prove that it is still the same file."""
        return self.bytes > 0 and (self._note.validator is not None or self._wanted.sha256 is not None)

    def _restart(self) -> None:
        assert self._file is not None
        self._file.truncate(0)
        self.bytes = self._hashed = 0
        self._hash = hashlib.sha256()
        self._note = _Note(self._wanted.url)
        self._note_path.unlink(missing_ok=True)

    def _forget(self) -> None:
        self._restart()
        self._path.unlink(missing_ok=True)


def _url(text: str) -> URL:
    try:
        return URL(text)
    except InvalidURL as error:
        raise PullError(f"{text} is no URL: {error}") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _mib(count: int) -> int:
    return -(-count // (1024 * 1024))
