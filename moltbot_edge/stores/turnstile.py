"""One at a time has a session, in the order in which they came. Of this process; of other gateways a store knows."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from moltbot_edge.core.errors import Overloaded, SessionBusy


class _Line:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()  # which is fair
        self.users = 0


class Turnstile:
    """*waiters* may wait in all lines together; each is a request whose body is held."""

    def __init__(self, waiters: int) -> None:
        self._limit = waiters
        self._waiting = 0
        self._lines: dict[tuple[str, str], _Line] = {}

    def held(self, owner: str, session: str, wait_s: float) -> AbstractAsyncContextManager[None]:
        """Raises `SessionBusy` and `Overloaded`, as `core.store.Store.held`."""
        return _Held(self, (owner, session), wait_s)

    def in_use(self) -> int:
        """How many sessions are."""
        return len(self._lines)

    def is_held(self, key: tuple[str, str] | None) -> bool:
        """From any thread."""
        return key in self._lines

    async def enter(self, key: tuple[str, str], wait_s: float) -> None:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        line.users += 1
        try:
            if line.users > 1:  # not whether it is locked: the next one may have it, and not yet know
                await self._wait(line, key[1], wait_s)
            else:
                await line.lock.acquire()
        except BaseException:
            self._leave(key, line)
            raise

    def leave(self, key: tuple[str, str]) -> None:
        line = self._lines[key]
        line.lock.release()
        self._leave(key, line)

    def _leave(self, key: tuple[str, str], line: _Line) -> None:
        line.users -= 1
        if not line.users:
            del self._lines[key]

    async def _wait(self, line: _Line, session: str, wait_s: float) -> None:
        if wait_s <= 0:
            raise busy(session)
        if self._waiting >= self._limit:
            raise Overloaded(f"{self._waiting} requests wait for their turn in a session already", retry_after_s=5.0)
        self._waiting += 1
        try:
            async with asyncio.timeout(wait_s):
                await line.lock.acquire()
        except TimeoutError:
            raise busy(session, wait_s) from None
        finally:
            self._waiting -= 1


class _Held:
    def __init__(self, turnstile: Turnstile, key: tuple[str, str], wait_s: float) -> None:
        self._turnstile = turnstile
        self._key = key
        self._wait_s = wait_s

    async def __aenter__(self) -> None:
        await self._turnstile.enter(self._key, self._wait_s)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turnstile.leave(self._key)


def busy(session: str, wait_s: float = 0.0) -> SessionBusy:
    waited = f", and was not free within {wait_s:g} s" if wait_s else ""
    return SessionBusy(f"another request is at work in session {session!r}{waited}", retry_after_s=1.0)
