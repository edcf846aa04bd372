"""Where a command finds kept sessions: at the gateway that runs, or in their store where none does.

A gateway has its folder for itself, so it is asked first. Who may read the folder may read everybody's sessions; there
an owner is found by the session's name. What is written there belongs to the folder's owner, also if root writes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol, TypeVar

import click
import msgspec

from moltbot_edge.assemble import session_store
from moltbot_edge.cli.running import NobodyThere, Refused, Running, in_path, running
from moltbot_edge.config.places import sessions_where
from moltbot_edge.config.schema import Config
from moltbot_edge.core.errors import UnknownSession
from moltbot_edge.core.session import CHANCE_BYTES, made_id, made_name
from moltbot_edge.core.store import Page, Stats, Store, Summary
from moltbot_edge.gateway.archive import Archive, Copied, exported
from moltbot_edge.kernel.registry import Registry

EVERYBODY = "*"
AT_ONCE = 1000

T = TypeVar("T")


class Kept(Protocol):
    """What may raise `GatewayError` and `Refused`. *owner* is a key's name, None for whose they are who asks."""

    def list(self, owner: str | None, limit: int) -> Page: ...

    def export(self, owner: str | None, name: str) -> Iterable[bytes]:
        """JSON lines, in pieces of any size."""
        ...

    def add(self, owner: str | None, lines: bytes, name: str | None) -> Copied: ...

    def delete(self, owner: str | None, name: str) -> None: ...

    def compact(self) -> Stats: ...


def done(config: Config, registry: Registry, key: str | None, do: Callable[[Kept], T], *, makes: bool = False) -> T:
    """*do*, with whichever has them; *makes*: a folder that is not there yet, too."""
    with running(config, key) as gateway:
        try:
            return do(AtGateway(gateway))
        except NobodyThere:
            url = gateway.url
    if config.sessions.store == "memory":
        raise Refused(f"no gateway runs at {url}, and sessions are kept in its memory (`sessions.store`)")
    click.echo(f"no gateway runs at {url}: opening what is kept {sessions_where(config.sessions)}", err=True)
    with _opened(config, registry, key, makes) as store:
        return do(store)


class AtGateway:
    def __init__(self, gateway: Running) -> None:
        self._ask = gateway.sessions
        self._lines = gateway.session_lines

    def list(self, owner: str | None, limit: int) -> Page:
        def page(limit: int, after: str | None) -> Page:
            said = self._ask("GET", owner=owner, limit=str(limit), after=after)
            return _read(said, Page)

        return _pages(page, limit)

    def export(self, owner: str | None, name: str) -> Iterator[bytes]:
        with self._lines("GET", f"{in_path(name)}/export", owner=owner) as pieces:
            yield from pieces

    def add(self, owner: str | None, lines: bytes, name: str | None) -> Copied:
        said = self._ask("POST", "/import", owner=owner, session=name, content=lines)
        return _read(said, Copied)

    def delete(self, owner: str | None, name: str) -> None:
        self._ask("DELETE", in_path(name), owner=owner)

    def compact(self) -> Stats:
        return _read(self._ask("POST", "compact"), Stats)


class InStore:
    """*mine* is whose key was given; *owners* are who may have sessions."""

    def __init__(self, runner: asyncio.Runner, store: Store, mine: str | None, owners: Iterable[str]) -> None:
        async def opened() -> Store:
            return store

        self._run = runner.run
        self._mine = mine
        self._owners = tuple(owners)
        self._archive = Archive(opened, lambda: made_name(made_id(time.time(), secrets.token_bytes(CHANCE_BYTES))))

    def list(self, owner: str | None, limit: int) -> Page:
        whose = self._mine if owner is None else owner
        everybody = whose in (None, EVERYBODY)
        return _pages(
            lambda limit, after: self._run(self._archive.list(None if everybody else whose, limit, after)), limit
        )

    def export(self, owner: str | None, name: str) -> Iterator[bytes]:
        whose = self._whose(owner, name)
        yield from exported(name, self._run(self._archive.load(whose, name)))

    def add(self, owner: str | None, lines: bytes, name: str | None) -> Copied:
        return self._run(self._archive.add(owner or self._mine or "", lines, name))

    def delete(self, owner: str | None, name: str) -> None:
        self._run(self._archive.delete(self._whose(owner, name), name))

    def compact(self) -> Stats:
        return self._run(self._archive.compact())

    def _whose(self, owner: str | None, name: str) -> str:
        said = owner if owner is not None else self._mine
        if said is not None:
            return said
        found = [one for one in self._owners if self._run(self._has(one, name))]
        if len(found) > 1:
            keys = ", ".join(one or '"" (no key)' for one in found)
            raise Refused(f"there is a session {name!r} of each of these keys: {keys}; --owner says whose is meant")
        if not found:
            raise UnknownSession(f"there is no session {name!r}, or no longer")
        return found[0]

    async def _has(self, owner: str, name: str) -> bool:
        try:
            await self._archive.load(owner, name)
        except UnknownSession:
            return False
        return True


def _read(said: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(said, type=kind)
    except msgspec.DecodeError as error:  # some other server's page
        raise NobodyThere from error


def _pages(page: Callable[[int, str | None], Page], limit: int) -> Page:
    """*limit* sessions, of as many pages as they take."""
    found: list[Summary] = []
    after: str | None = None
    while len(found) < limit:
        one = page(min(AT_ONCE, limit - len(found)), after)
        found += one.sessions
        after = one.after
        if after is None:
            break
    return Page(tuple(found), after)


@contextmanager
def _opened(config: Config, registry: Registry, key: str | None, makes: bool) -> Generator[InStore]:
    settings = config.sessions
    mine = None if key is None else _holder(config, key)
    owned = None
    if settings.store == "disk":
        owned = _nearest(Path(settings.path))
        if owned != Path(settings.path) and not makes:
            settings, owned = msgspec.structs.replace(settings, store="memory"), None  # as empty as what is not there
    opening = session_store(settings, registry)  # which imports it, while everything can be read
    with _as_owner_of(owned) if owned is not None else nullcontext(), asyncio.Runner() as runner:
        ends = AsyncExitStack()
        store = runner.run(ends.enter_async_context(opening))
        try:
            yield InStore(runner, store, mine, ("", *(one.name for one in config.keys)))
        finally:
            runner.run(ends.aclose())


def _holder(config: Config, key: str) -> str | None:
    digest = f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    if config.keys and not any(one.hash == digest for one in config.keys):
        raise Refused("this key is not known here; without one, everybody's sessions are there for who has the folder")
    return next((one.name for one in config.keys if one.hash == digest), None)


def _nearest(folder: Path) -> Path:
    """Itself, or what is above it and there."""
    there = folder
    try:
        while not there.exists():
            there = there.parent
    except OSError as error:
        raise Refused(
            f"{folder} cannot be read ({error.strerror}): run this as root, or as the gateway's user"
        ) from error
    return there


@contextmanager
def _as_owner_of(there: Path) -> Generator[None]:
    """As long as it lasts root is who owns *there*: what root left there, a gateway of another user could not write."""
    state = there.stat()
    changes = os.geteuid() == 0 and state.st_uid != 0
    groups = os.getgroups()
    if changes:
        os.setgroups([])
        os.setegid(state.st_gid)
        os.seteuid(state.st_uid)
    try:
        if not os.access(there, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            raise Refused(f"{there} is not yours to write: run this as root, or as the gateway's user")
        yield
    finally:
        if changes:
            os.seteuid(0)
            os.setegid(os.getgid())
            os.setgroups(groups)
