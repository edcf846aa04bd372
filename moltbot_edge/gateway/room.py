"""Memory for the conversations at work. How much one takes is known once it is loaded, so they come in one by one.

One comes in while those inside are within the limit, and so the sum goes over it by one at most: a conversation that is
larger than the limit goes on all the same, and alone. Bodies have a budget of their own, which nobody inside waits for.
"""

from __future__ import annotations

import asyncio
from collections import deque

from moltbot_edge.core.errors import Overloaded

RETRY_AFTER_S = 5


class Room:
    """First come, first served. Lives in one event loop."""

    def __init__(self, limit_bytes: int, wait_s: float, waiters: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._wait_s = wait_s
        self._most_waiting = waiters
        self._entering = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Then `entered` is to be called. Raises `Overloaded` when the line is full or moves too slowly."""
        if not self._entering and not self._waiting and self.held_bytes <= self.limit_bytes:
            self._entering = True
            return
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded("too many requests wait for memory for their sessions", retry_after_s=RETRY_AFTER_S)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._entering = False  # it was let in just as it left
            elif turn in self._waiting:
                self._waiting.remove(turn)
            self._admit()
            if isinstance(error, TimeoutError):
                raise Overloaded(
                    f"sessions at work stayed at their limit of {self.limit_bytes} bytes (sessions.at_work_mb)",
                    retry_after_s=RETRY_AFTER_S,
                ) from error
            raise

    def entered(self, size: int, lasting: int) -> Share:
        """What it takes is known now. *lasting* of it is needed to the end."""
        self._entering = False
        self.held_bytes += size
        self._admit()
        return Share(self, size, min(size, lasting))

    def give(self, size: int) -> None:
        self.held_bytes -= size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and not self._entering and self.held_bytes <= self.limit_bytes:
            turn = self._waiting.popleft()
            if not turn.done():  # else cancelled, and not yet run to say so
                self._entering = True
                turn.set_result(None)


class Share:
    """What one request has of it."""

    def __init__(self, room: Room, size: int, lasting: int) -> None:
        self._room = room
        self._size = size
        self._lasting = lasting

    def drop(self) -> None:
        """What was said before is needed no more; what is new is kept at the end."""
        if self._size > self._lasting:
            self._give(self._size - self._lasting)

    def end(self) -> None:
        if self._size:
            self._give(self._size)

    def _give(self, size: int) -> None:
        self._size -= size
        self._room.give(size)
