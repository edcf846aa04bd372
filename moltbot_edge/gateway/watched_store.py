"""A store with somebody who watches it: how long it takes, and what is wrong with it, said once, not at each request.

Not a store: whichever the configuration names stands behind it, a plug-in's too, whose slips of the pen end here.
Imported with the first session.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Final, TypeVar

from moltbot_edge.core.errors import GatewayError, StoreError, StoreUnreachable
from moltbot_edge.core.session import Kept, Turn
from moltbot_edge.core.store import Page, Stats, Store
from moltbot_edge.metrics.catalogue import Metrics

T = TypeVar("T")

log = logging.getLogger(__name__)

WRITES: Final = frozenset({"append", "add", "delete"})


@asynccontextmanager
async def watched(
    opens: Callable[[], AbstractAsyncContextManager[Store]],
    where: str,
    metrics: Metrics,
    now: Callable[[], float],
) -> AsyncIterator[Store]:
    """The store that *opens* makes, and *where* for the log. *now* is `time.monotonic`. Raises `StoreError`."""
    try:
        opening = opens()
        store = await opening.__aenter__()
    except GatewayError:
        raise
    except Exception as error:  # of whoever wrote it
        raise _failed(error, where) from error
    try:
        yield WatchedStore(store, where, metrics, now)
    finally:
        await opening.__aexit__(None, None, None)


class WatchedStore:
    def __init__(self, store: Store, where: str, metrics: Metrics, now: Callable[[], float]) -> None:
        self.now = now
        self._store = store
        self._where = where
        self._metrics = metrics
        self._trouble: tuple[StoreError, str] | None = None  # and at what
        self._told = False  # where they are kept: once it is known that they can be

    @property
    def trouble(self) -> StoreError | None:
        return self._store.trouble or (None if self._trouble is None else self._trouble[0])

    @property
    def size_bytes(self) -> int | None:
        """What all take, of a store that knows it without looking for it."""
        size: int | None = getattr(self._store, "size_bytes", None)
        return size

    async def load(self, owner: str, session: str) -> Kept | None:
        return await self._watched("load", self._store.load(owner, session))

    async def append(self, owner: str, session: str, turn: Turn, leaf: str | None) -> None:
        await self._watched("append", self._store.append(owner, session, turn, leaf))

    async def add(self, owner: str, session: str, turns: Sequence[Turn]) -> None:
        await self._watched("add", self._store.add(owner, session, turns))

    async def delete(self, owner: str, session: str) -> bool:
        return await self._watched("delete", self._store.delete(owner, session))

    async def list(self, owner: str | None, limit: int, after: str | None = None) -> Page:
        return await self._watched("list", self._store.list(owner, limit, after))

    async def stats(self) -> Stats:
        return await self._watched("stats", self._store.stats())

    async def compact(self) -> None:
        await self._watched("compact", self._store.compact())

    def held(self, owner: str, session: str, wait_s: float) -> AbstractAsyncContextManager[None]:
        return _Held(self, self._store.held(owner, session, wait_s))

    async def _watched(self, action: str, call: Awaitable[T]) -> T:
        began = self.now()
        try:
            done = await call
        except GatewayError as error:
            self.failed(error, action)
            raise
        except Exception as error:  # of whoever wrote it
            wrapped = _failed(error, self._where)
            self.failed(wrapped, action)
            raise wrapped from error
        finally:
            self._metrics.session_store_seconds.cell(action).observe(self.now() - began)
        if self._trouble is not None:
            self._went_well(action)
        elif not self._told:
            self._told = True
            log.info("sessions are kept %s", self._where)
        return done

    def failed(self, error: GatewayError, action: str) -> None:
        """What is not `StoreError` is the caller's own, or a matter of this moment."""
        if not isinstance(error, StoreError):
            return
        before, self._trouble = self._trouble, (error, action)
        if before is not None and type(before[0]) is type(error):
            return
        self._metrics.session_store_troubles.cell(error.code or error.kind).add()
        meanwhile = "replies come, and what is said is not kept" if action in WRITES else "sessions cannot be read"
        log.error("%s; until that is well, %s", error.message, meanwhile)

    def _went_well(self, action: str) -> None:
        """After something had failed: that it can be read says nothing of whether it can be written."""
        assert self._trouble is not None
        if self._store.trouble is None and (action == self._trouble[1] or action in WRITES):
            self._trouble = None
            self._told = True
            log.warning("sessions are kept again %s", self._where)

    def waited(self, began: float) -> None:
        self._metrics.session_wait_seconds.cell().observe(self.now() - began)


class _Held:
    """A session for one request alone, and how long that was waited for."""

    def __init__(self, store: WatchedStore, held: AbstractAsyncContextManager[None]) -> None:
        self._store = store
        self._held = held

    async def __aenter__(self) -> None:
        began = self._store.now()
        try:
            await self._held.__aenter__()
        except GatewayError as error:
            self._store.failed(error, "held")
            raise
        finally:
            self._store.waited(began)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._held.__aexit__(kind, error, trace)


def _failed(error: Exception, where: str) -> StoreError:
    return StoreUnreachable(f"sessions cannot be kept {where}: {type(error).__name__}: {error}", retry_after_s=5.0)
