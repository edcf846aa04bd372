"""A gateway without models of its own: nothing runs, nothing is loaded to run it, until a model comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from moltbot_edge.core.lease import Lease, Wish

if TYPE_CHECKING:  # some twenty modules
    from moltbot_edge.local.supervisor import Supervisor


class NoEngines:
    """In the place of `supervisor.Supervisor`, whose modules a plain relay need not have in memory.

    *make* gives one when the first model is there: see `begun`.
    """

    def __init__(self, make: Callable[[], Supervisor] | None = None) -> None:
        self._make = make
        self._supervisor: Supervisor | None = None
        self._living: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        self._ends = asyncio.Event()

    async def __aenter__(self) -> NoEngines:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._ends.set()
        if self._living is not None:
            await self._living

    async def begun(self) -> Supervisor | None:
        """Engines from now on; None where that cannot be."""
        if self._living is None and self._make is not None and not self._ends.is_set():
            self._living = asyncio.get_running_loop().create_task(self._live(self._make))
            self._living.add_done_callback(lambda _: self._begun.set())
        if self._living is not None:
            await self._begun.wait()
        return self._supervisor

    async def _live(self, make: Callable[[], Supervisor]) -> None:
        async with make() as self._supervisor:
            self._begun.set()
            await self._ends.wait()

    def lease(self, name: str, wish: Wish) -> AbstractAsyncContextManager[Lease]:
        if self._supervisor is None:
            raise KeyError(name)
        return self._supervisor.lease(name, wish)

    def states(self) -> Mapping[str, str]:
        return {} if self._supervisor is None else self._supervisor.states()

    def read(self) -> None:
        """Set the gauges, if there are any."""
        if self._supervisor is not None:
            self._supervisor.read()
