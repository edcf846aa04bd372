"""What engines take, looked at again and again while any runs; and whether the machine has enough left for itself.

Touches the records of `owner`, for it and at its word. Who has to go is not decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from moltbot_edge.local.attendants import Attendants
from moltbot_edge.local.board import this_machine
from moltbot_edge.local.lifecycle import State
from moltbot_edge.local.memory import Memory, Share
from moltbot_edge.local.profile import Board
from moltbot_edge.local.record import Record

MEASURE_S = 1.0  # between two looks, while any engine loads or answers
MEASURE_IDLE_S = 15.0  # a look at 4 GiB is 20 ms of a Pi's time
LEAST_FREE = 0.02  # of what engines may take: with less, a machine soon swaps, or ends processes


class Weighing:
    """*begin* is `owner.Owner`'s."""

    def __init__(
        self,
        attendants: Attendants,
        memory: Memory,
        begin: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._attendants = attendants
        self._memory = memory
        self._begin = begin
        self._next: asyncio.Task[None] | None = None
        self._at_leisure = False
        self._lacking_bytes = 0
        self._learns_down: bool | None = None  # a Jetson's GPU takes memory that is no process's

    def go_on(self, records: Mapping[str, Record]) -> None:
        """There is a next look, soon where something happens."""
        busy = any(one.leased or one.engine.state in (State.LOADING, State.STOPPING) for one in records.values())
        if self._next is not None and not self._next.done():
            if not busy or not self._at_leisure:
                return
            self._next.cancel()
        children = {
            name: (record.run, record.child.pid)
            for name, record in records.items()
            if record.child is not None and record.runs
        }
        if children:
            self._at_leisure = not busy
            self._next = self._begin(self._attendants.measure(children, MEASURE_S if busy else MEASURE_IDLE_S))

    def weighed(self, records: Mapping[str, Record], shares: Mapping[str, tuple[int, Share]], limit_bytes: int) -> None:
        """A look's result, by name; what is of an earlier run comes too late."""
        self._next = None
        if self._learns_down is None:
            self._learns_down = this_machine().board is not Board.JETSON
        for name, (run, share) in shares.items():
            record = records.get(name)
            if record is not None and record.run == run and record.child is not None and share.pss:
                record.measured(share, self._learns_down)
        self._lacking_bytes = max(0, int(limit_bytes * LEAST_FREE) - self._memory.available())

    def lacking_bytes(self) -> int:
        """What the machine needs back. Told once: who goes for it may be gone before the next look."""
        lacking, self._lacking_bytes = self._lacking_bytes, 0
        return lacking
