"""A request's whole body, and the room that is taken for it before it is read."""

from __future__ import annotations

from moltbot_edge.core.errors import BodyTooLarge
from moltbot_edge.server.call import Call
from moltbot_edge.server.limits import BodyBudget


class Held:
    """What one request has taken of the budget: its body, and once more where that will be translated."""

    def __init__(self, budget: BodyBudget, copies: int) -> None:
        self._budget = budget
        self._copies = copies
        self._size = 0

    def took(self, size: int) -> bool:
        size = self._all(size)
        if not self._budget.took(size):
            return False
        self._size += size
        return True

    async def take(self, size: int) -> None:
        size = self._all(size)
        await self._budget.take(size)
        self._size += size

    def _all(self, size: int) -> int:
        """What could not be had of the whole budget is not waited for."""
        return size if self._copies == 1 else max(size, min(size * self._copies, self._budget.limit_bytes - self._size))

    def give(self) -> None:
        size, self._size = self._size, 0
        if size:
            self._budget.give(size)


async def whole_body(call: Call, held: Held, limit_bytes: int) -> bytes | bytearray:
    """Room is taken before it is read, in pieces where its length was not said. Raises `BodyTooLarge`."""
    length = call.content_length
    if length is not None:
        _check(length, limit_bytes)
        await held.take(length)
        return await call.body_of(length)
    whole = bytearray()
    while piece := await call.body_piece():
        _check(len(whole) + len(piece), limit_bytes)
        await held.take(len(piece))
        whole += piece
    return whole


def _check(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise BodyTooLarge(f"the request's body is larger than {limit_bytes} bytes (limits.body_bytes)")
