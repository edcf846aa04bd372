"""One slow clock for every time limit of the hot path, instead of a timer for each request.

Limits are seconds to minutes, so a quarter of a second's coarseness is no loss, and a request costs a set's
``add`` and ``discard`` in place of timers made and cancelled. Who ticks counts ticks: nobody reads a clock.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

TICK_S = 0.25


class Ticking(Protocol):
    def tick(self) -> None:
        """Called every `TICK_S` seconds. May remove itself or others. Must not raise."""
        ...


class Ticker:
    """Sleeps while nobody is in it. Lives in one event loop, from first `add` to the last `discard`."""

    def __init__(self) -> None:
        self._members: set[Ticking] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, member: Ticking) -> None:
        self._members.add(member)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def discard(self, member: Ticking) -> None:
        self._members.discard(member)

    def stop(self) -> None:
        self._members.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        for member in tuple(self._members):
            member.tick()
        if self._members and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
