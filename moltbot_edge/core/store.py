"""The seam of what keeps sessions. Each store is one file of `stores/`; it has a life, and so is opened.

A store knows whose a session is, and nothing of what is said in it. It is durable when `append` returns. What it
cannot do it says by an error of `errors.StoreError`: whoever asked decides what becomes of the reply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from moltbot_edge.core.errors import StoreError
from moltbot_edge.core.session import Kept, Turn


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says to every store. *clock* is seconds since 1970.

    *timeout_s* after its last turn a session is gone. Above *size_bytes* the oldest idle ones leave; one session has
    *session_bytes* at most, in memory. *waiters* may wait for their turn in all sessions together.
    """

    clock: Callable[[], float]
    path: str
    url: str
    timeout_s: float
    size_bytes: int
    session_bytes: int
    waiters: int


class Summary(msgspec.Struct, frozen=True):
    """*at* is when its last turn came, seconds since 1970; *size_bytes* as of `Kept`."""

    owner: str
    session: str
    leaf: str
    at: float
    turns: int
    size_bytes: int


class Page(msgspec.Struct, frozen=True):
    """*after* continues the list; None at its end."""

    sessions: tuple[Summary, ...]
    after: str | None = None


class Stats(msgspec.Struct, frozen=True):
    """*sessions* None: nobody counts them."""

    turns: int
    size_bytes: int
    sessions: int | None = None


class Store(Protocol):
    """*owner* and *session* together are a session's name: another owner's has nothing to do with it."""

    @property
    def trouble(self) -> StoreError | None:
        """What is wrong with it now, for who asks before a request does."""
        ...

    @property
    def size_bytes(self) -> int | None:
        """What all take now, where that is known without a look; a plug-in may leave this out."""
        ...

    async def load(self, owner: str, session: str) -> Kept | None:
        """None: there is none, or no longer. Writes nothing."""
        ...

    async def append(self, owner: str, session: str, turn: Turn, leaf: str | None) -> None:
        """Durable when it returns. Raises `SessionConflict` where the session does not stand at *leaf* any more.

        None for *leaf* begins a session. A cancellation leaves the turn whole, or not there.
        """
        ...

    async def add(self, owner: str, session: str, turns: Sequence[Turn]) -> None:
        """A whole session at once: imported, or forked. Raises `SessionConflict` where there is one of that name."""
        ...

    async def delete(self, owner: str, session: str) -> bool:
        """Whether there was one."""
        ...

    async def list(self, owner: str | None, limit: int, after: str | None = None) -> Page:
        """The newest first; None for *owner*: everybody's. *after* is of the page before.

        A page may have fewer, or none, and go on all the same: it ends where there is no *after*.
        """
        ...

    async def stats(self) -> Stats: ...

    async def compact(self) -> None:
        """Gives back what is free."""
        ...

    def held(self, owner: str, session: str, wait_s: float) -> AbstractAsyncContextManager[None]:
        """While it is open nobody else has the session, here or at another gateway; who came first is first here.

        A plug-in that shares sessions with no other gateway may leave this out: the gateway lets one at a time in.

        Raises `SessionBusy` after *wait_s*, at once where that is 0, and `Overloaded` where too many wait.
        """
        ...


# A plug-in of the kind ``store``: it is called once, and may be opened although what it keeps is out of reach.
Opens = Callable[[StoreOptions], AbstractAsyncContextManager[Store]]
