"""A model from a hub or a URL into the model store: asked for by what people call it, told of as it comes.

What comes of it is the same for the command and for ``/admin``: `Event`s, the last of them `Pulled` or `Failed`.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Final

import msgspec

from moltbot_edge.http_client import URL, AsyncClient, Clients, HTTPError
from moltbot_edge.local import hub as hubs
from moltbot_edge.local.download import PAUSES_S, Access, Arrived, bytes_there, check_room, download
from moltbot_edge.local.gguf import GgufError
from moltbot_edge.local.hub import AtUrl, InRepository, PullError, Wanted
from moltbot_edge.local.store import facts_of, found_models
from moltbot_edge.network.certificates import Certificates

LISTING_BYTES: Final = 8 * 1024 * 1024  # a hub's page has up to 1,000 files of some 300 bytes
PAGES: Final = 20
TELL_S: Final = 0.5  # between two lines of progress
SILENCE_S: Final = 60.0  # of a server: one that stores what it has on tape has begun to answer by then


class Files(msgspec.Struct, frozen=True, tag_field="event", tag="files"):
    """What will be fetched. *bytes* None: it is not known yet."""

    names: tuple[str, ...]
    bytes: int | None


class Progress(msgspec.Struct, frozen=True, tag_field="event", tag="progress"):
    """Of one file. *bytes_per_s* is of what came lately."""

    name: str
    bytes: int
    total_bytes: int | None
    bytes_per_s: float


class Note(msgspec.Struct, frozen=True, tag_field="event", tag="note"):
    text: str


class Pulled(msgspec.Struct, frozen=True, tag_field="event", tag="pulled"):
    """*model* is the name under which callers ask for it. *note*: what is left to do."""

    model: str
    file: str
    sha256: tuple[str, ...]
    note: str | None = None


class Failed(msgspec.Struct, frozen=True, tag_field="event", tag="failed"):
    message: str


Event = Files | Progress | Note | Pulled | Failed


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*source* as `hub.source` takes it; *sha256* of the file, where somebody knows it. *token* is for *hub*."""

    source: str
    sha256: str | None = None
    hub: str | None = None
    token: str | None = None


def asked(said: Asked, environment: Mapping[str, str]) -> Asked:
    """With what *environment* says: HF_ENDPOINT, and HF_TOKEN for it. Another hub never gets that token."""
    if said.hub is not None:
        return said
    token = said.token or environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN") or None
    return msgspec.structs.replace(said, hub=environment.get("HF_ENDPOINT") or hubs.HUB, token=token)


async def pull(
    said: Asked,
    folder: Path,
    environment: Mapping[str, str],
    *,
    now: Callable[[], float] = time.monotonic,
    pauses_s: tuple[float, ...] = PAUSES_S,
) -> AsyncGenerator[Event]:
    """Into *folder*, which is made. Leaving in between leaves what has come; the next pull goes on with it."""
    clients = Clients(Certificates(environment), environment)
    said = asked(said, environment)
    try:
        async with (
            clients.asynchronous(silence_s=SILENCE_S) as client,
            aclosing(_pulled(client, said, folder, now, pauses_s)) as events,
        ):
            async for event in events:
                yield event
    except PullError as error:
        yield Failed(str(error))


async def _pulled(
    client: AsyncClient, said: Asked, folder: Path, now: Callable[[], float], pauses_s: tuple[float, ...]
) -> AsyncGenerator[Event]:
    hub = said.hub or hubs.HUB
    access = Access(hub, said.token)
    files = await _files(client, access, hubs.source(said.source, hub))
    if said.sha256 is not None:
        files = _with_checksum(files, said.sha256)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise PullError(f"{folder} cannot be made: {error.strerror}") from error
    known = [one.bytes for one in files if one.bytes is not None]
    total = sum(known) if len(known) == len(files) else None
    yield Files(tuple(one.name for one in files), total)
    check_room(folder, max(0, sum(known) - sum(bytes_there(folder, one) for one in files if one.bytes is not None)))
    arrived: list[Arrived] = []
    for wanted in files:
        async with aclosing(_fetched(client, access, wanted, folder, now, pauses_s)) as events:
            async for event in events:
                if isinstance(event, Arrived):
                    arrived.append(event)
                else:
                    yield event
    first = arrived[0].file
    names = {file: name for name, file in found_models([folder]).items()}
    note = None
    try:
        facts_of(first)
    except GgufError as error:
        note = f"{first.name} came as it is there, and cannot be read as a model: {error}"
    yield Pulled(names.get(first, ""), str(first), tuple(one.sha256 for one in arrived), note)


async def _fetched(
    client: AsyncClient,
    access: Access,
    wanted: Wanted,
    folder: Path,
    now: Callable[[], float],
    pauses_s: tuple[float, ...],
) -> AsyncGenerator[Event | Arrived]:
    at, before, rate = now(), None, 0.0
    async with aclosing(download(client, access, wanted, folder, pauses_s)) as steps:
        async for step in steps:
            if isinstance(step, Arrived):
                if not step.fetched:
                    yield Note(f"{wanted.name} is there already")
                yield step
                return
            if step.note is not None:
                yield Note(f"{wanted.name}: {step.note}")
                before = None
            time_now = now()
            if before is None:
                at, before = time_now, step.bytes
            elif time_now - at >= TELL_S or step.bytes == step.total_bytes:
                rate = (step.bytes - before) / max(time_now - at, 0.001)
                at, before = time_now, step.bytes
                yield Progress(wanted.name, step.bytes, step.total_bytes, rate)


async def _files(client: AsyncClient, access: Access, found: InRepository | AtUrl) -> list[Wanted]:
    if isinstance(found, AtUrl):
        return hubs.at_url(found)
    listed = []
    url = hubs.listing_url(access.hub, found)
    for _ in range(PAGES):
        body, following = await _page(client, access, url, found)
        try:
            listed += hubs.listed(body)
        except msgspec.DecodeError as error:
            raise PullError(f"{access.hub} does not answer as a hub: {error}") from error
        if following is None:
            break
        url = following
    return hubs.in_repository(access.hub, found, hubs.chosen(found, listed))


async def _page(client: AsyncClient, access: Access, url: str, found: InRepository) -> tuple[bytes, str | None]:
    """A page of the hub's list, and the address of the next, which is below the hub's own."""
    try:
        async with client.stream("GET", url, headers=access.headers_for(URL(url))) as response:
            if response.status_code in (401, 403, 404):
                raise PullError(
                    f"the hub at {access.hub} shows no {found.repository!r} ({response.status_code}): is its name"
                    " right? If it is not for everybody, accept its terms on its page and set HF_TOKEN"
                )
            if response.status_code != 200:
                raise PullError(f"{access.hub} answered {response.status_code} for the files of {found.repository}")
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > LISTING_BYTES:
                    raise PullError(f"{access.hub} lists more than {LISTING_BYTES} bytes of files")
            following = response.links.get("next", {}).get("url")
            return bytes(body), str(response.url.join(following)) if following else None
    except HTTPError as error:
        raise PullError(f"{access.hub} cannot be asked: {error or error.__class__.__name__}") from error


def _with_checksum(files: list[Wanted], sha256: str) -> list[Wanted]:
    if len(files) > 1:
        raise PullError(
            f"one SHA-256 cannot be of {len(files)} files; pull without it, and compare those that are told"
        )
    digest = sha256.strip().lower().removeprefix("sha256:")
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise PullError("expected a SHA-256 of 64 hexadecimal digits")
    if files[0].sha256 not in (None, digest):
        raise PullError(f"the hub says that the SHA-256 of {files[0].name} is {files[0].sha256}, not {digest}")
    return [msgspec.structs.replace(files[0], sha256=digest)]
