"""What the gateway needs of the engines on this board, as `local.supervisor.Supervisor` runs them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from moltbot_edge.core.lease import Lease, Wish


class Engines(Protocol):
    def lease(self, name: str, wish: Wish) -> AbstractAsyncContextManager[Lease]:
        """Entered once the engine is ready; until it is left, the engine stays. Raises `EngineFailed`."""
        ...

    def states(self) -> Mapping[str, str]:
        """By the engines' names; ``ready`` is one that answers."""
        ...
