"""A request's place at an engine: it waits, it holds the engine, it leaves. Decides nothing: `supervisor` grants."""

from __future__ import annotations

import asyncio

from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.lease import Wish
from moltbot_edge.local.keeping import Keeper

Address = tuple[str, int]


class Tenant:
    """*granted* is settled by the owner of the engines, *ended* too: with why the engine went while it was held.

    *since* is monotonic. *usage* and *timings* are of a whole reply.
    """

    def __init__(self, name: str, wish: Wish, since: float) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.wish = wish
        self.since = since
        self.granted: asyncio.Future[Address] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.sent = False  # a request may have gone to the engine
        self.answered = False
        self.usage: Usage | None = None
        self.timings: Timings | None = None


class EngineLease:
    """As `core.lease.Lease` says."""

    def __init__(self, tenant: Tenant, address: Address, slot: int | None, keeper: Keeper) -> None:
        self.address = address
        self.slot = slot
        self._tenant = tenant
        self._keeper = keeper

    def answered(self, usage: Usage | None, timings: Timings | None) -> None:
        tenant = self._tenant
        tenant.answered, tenant.usage, tenant.timings = True, usage, timings
        self._keeper.after_reply(tenant.name, self.slot, tenant.wish, usage, timings)
