"""What a request says of itself to an engine of this board, and what it gets while it is answered. No engine here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from moltbot_edge.core.events import Timings, Usage


class Phase(StrEnum):
    QUEUED = "queued"  # others come first, or memory has to come back
    LOADING = "loading"
    PREFILL = "prefill"


class Progress(msgspec.Struct, frozen=True):
    """How far a request has come that waits. *position* counts who comes first; *done* is a share up to 1."""

    phase: Phase
    position: int = 0
    done: float | None = None

    def said(self) -> dict[str, str | int | float]:
        """As it stands in an event: ``{"phase": "queued", "position": 2}``, ``{"phase": "loading", "done": 0.4}``."""
        told: dict[str, str | int | float] = {"phase": self.phase.value}
        if self.phase is Phase.QUEUED:
            told["position"] = self.position
        elif self.done is not None:
            told["done"] = round(self.done, 3)
        return told


def unheard(progress: Progress) -> None:
    """For a caller who did not ask."""


class Wish(msgspec.Struct, frozen=True):
    """*marks* are of `core.prefixes`, of a body of *body_bytes*. *on_progress* is called on the event loop, seldom.

    *keep_s* is how long the engine shall stay without another request, negative for ever; None: not said.
    """

    marks: Sequence[int] = ()
    body_bytes: int = 0
    session: str | None = None
    on_progress: Callable[[Progress], None] = unheard
    keep_s: float | None = None


class Foresight(msgspec.Struct, frozen=True):
    """What a prompt would find at an engine: seconds until it is ready for it, and how much of it is cached then.

    *cached_tokens* None: nobody knows.
    """

    ready_s: float = 0.0
    cached_tokens: int | None = None


class Lease(Protocol):
    """An engine that is not taken away. *slot* is where this conversation's cache is; None leaves it to the engine."""

    address: tuple[str, int]
    slot: int | None

    def answered(self, usage: Usage | None, timings: Timings | None) -> None:
        """A whole reply has come: what the engine said of it."""
        ...
