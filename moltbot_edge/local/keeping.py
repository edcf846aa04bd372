"""What an engine's cache holds, kept beyond the engine: the seam between `supervisor` and whoever keeps it.

The supervisor calls; a keeper talks to the engine. All calls are on the event loop, none from the task that owns the
engines, so a keeper may take its time where it says so. It decides nothing of an engine's life.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.lease import Foresight, Wish

Address = tuple[str, int]


class Keeper(Protocol):
    """Of one engine by *name*: `ready`, then requests, then `before_stop` (not before a crash), then `gone`.

    What raises is logged, and goes on as if nothing had been kept. Each `before_request` that gave a slot is followed
    by one `after_reply` or one `left`. The launcher asks for `slot_path` and tells what `starts`, before all of it.
    """

    def slot_path(self, name: str) -> str | None:
        """The folder that its engine may write caches to; None where none are kept."""
        ...

    def starts(self, name: str, identity: str | None, pins: bool) -> None:
        """*identity* tells this model, build and flags from all others; None where it cannot write to `slot_path`.

        *pins*: requests may be sent to a slot.
        """
        ...

    def foresees(self, name: str, trail: Sequence[int]) -> Foresight:
        """What a prompt with this trail would find, and the seconds to load it: for a router, before it asks."""
        ...

    async def ready(self, name: str, address: Address) -> None:
        """It has loaded its model, and no request has gone to it yet: they wait for this, `READY_S` at most."""
        ...

    async def before_request(self, name: str, address: Address, wish: Wish) -> int | None:
        """The slot for this conversation, its cache restored where that was worth it; None leaves it to the engine.

        The engine is leased already, so it stays; several of these may be under way. Cancelled if the caller leaves.
        """
        ...

    def after_reply(
        self, name: str, slot: int | None, wish: Wish, usage: Usage | None, timings: Timings | None
    ) -> None:
        """A whole reply has come. Not called where a caller left, or the engine failed: the slot holds anything."""
        ...

    def left(self, name: str, slot: int | None) -> None:
        """No whole reply came to the request that was given *slot*."""
        ...

    async def when_idle(self, name: str, address: Address) -> None:
        """No request for `IDLE_S`. One that comes meanwhile does not wait for this; the end of the engine does."""
        ...

    async def before_stop(self, name: str, address: Address) -> None:
        """It ends next, and serves nobody any more. Cancelled after `BEFORE_STOP_S`."""
        ...

    def gone(self, name: str) -> None:
        """Its process has ended, however: what was in its slots is lost."""
        ...


READY_S = 5.0
IDLE_S = 20.0  # someone who reads a reply and answers it takes about that long; sooner would write for nothing
BEFORE_STOP_S = 10.0  # 200 MiB of cache to an SD card that writes 20 MB a second; who waits for the swap waits for this


class KeepsNothing:
    """For a gateway that keeps no caches."""

    def slot_path(self, name: str) -> str | None:
        return None

    def starts(self, name: str, identity: str | None, pins: bool) -> None: ...

    def foresees(self, name: str, trail: Sequence[int]) -> Foresight:
        return Foresight()

    async def ready(self, name: str, address: Address) -> None: ...

    async def before_request(self, name: str, address: Address, wish: Wish) -> int | None:
        return None

    def after_reply(
        self, name: str, slot: int | None, wish: Wish, usage: Usage | None, timings: Timings | None
    ) -> None: ...

    def left(self, name: str, slot: int | None) -> None: ...

    async def when_idle(self, name: str, address: Address) -> None: ...

    async def before_stop(self, name: str, address: Address) -> None: ...

    def gone(self, name: str) -> None: ...
