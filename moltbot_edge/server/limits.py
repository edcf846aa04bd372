"""All request bodies in memory together, as one budget. Who finds no room waits in line, then is refused."""

from __future__ import annotations

import asyncio
from collections import deque

from moltbot_edge.core.errors import Overloaded

RETRY_AFTER_S = 5


class BodyBudget:
    """First come, first served, in bytes. Lives in one event loop."""

    def __init__(self, limit_bytes: int, wait_s: float, waiters: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._wait_s = wait_s
        self._most_waiting = waiters
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def took(self, size: int) -> bool:
        """Take *size* where that needs no waiting. What was taken is to be given back."""
        if self._waiting or self.held_bytes + size > self.limit_bytes:
            return False
        self.held_bytes += size
        return True

    async def take(self, size: int) -> None:
        """Raises `Overloaded` when the line is full or moves too slowly."""
        if self.took(size):
            return
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded("too many requests wait to send their bodies", retry_after_s=RETRY_AFTER_S)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give(size)  # it was let in just as it left
            elif (size, turn) in self._waiting:
                self._waiting.remove((size, turn))
                self._admit()
            if isinstance(error, TimeoutError):
                raise Overloaded(
                    f"request bodies in memory stayed at their limit of {self.limit_bytes} bytes",
                    retry_after_s=RETRY_AFTER_S,
                ) from error
            raise

    def give(self, size: int) -> None:
        self.held_bytes -= size
        if self._waiting:
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self.held_bytes + self._waiting[0][0] <= self.limit_bytes:
            size, turn = self._waiting.popleft()
            if not turn.done():  # else cancelled, and not yet run to say so
                self.held_bytes += size
                turn.set_result(None)
