"""A gateway without models of its own: nothing runs, nothing is loaded to run it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from moltbot_edge.core.lease import Lease, Wish


class NoEngines:
    """In the place of `supervisor.Supervisor`, whose modules a plain relay need not have in memory."""

    async def __aenter__(self) -> NoEngines:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    def lease(self, name: str, wish: Wish) -> AbstractAsyncContextManager[Lease]:
        raise KeyError(name)

    def states(self) -> Mapping[str, str]:
        return {}

    def read(self) -> None:
        """There are no gauges to set."""
