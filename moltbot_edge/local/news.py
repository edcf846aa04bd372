"""What the owner of the engines is told. Everybody else sends these, and nobody else decides."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from moltbot_edge.local.health import Work
from moltbot_edge.local.launch import EngineModel, Survey
from moltbot_edge.local.leases import Tenant
from moltbot_edge.local.lifecycle import Event
from moltbot_edge.local.memory import Share
from moltbot_edge.local.process import Child


class Farewell(StrEnum):
    """What became of the wish that a model be forgotten."""

    FORGOTTEN = "forgotten"
    RUNS = "runs"  # its engine has to be stopped before
    IN_USE = "in-use"  # somebody waits for it, or is answered


class Arrived(msgspec.Struct, frozen=True):
    """What the budget is: from now on engines may start."""

    limit_bytes: int


class Came(msgspec.Struct, frozen=True):
    tenant: Tenant


class Left(msgspec.Struct, frozen=True):
    tenant: Tenant


class Unwanted(msgspec.Struct, frozen=True):
    """*leaver* is settled once it is gone."""

    name: str
    leaver: asyncio.Future[None]


class Added(msgspec.Struct, frozen=True):
    """A model that was not there at the beginning, or whose file is another one now."""

    model: EngineModel


class Forget(msgspec.Struct, frozen=True):
    """*told* is settled at once."""

    name: str
    told: asyncio.Future[Farewell]


class Surveyed(msgspec.Struct, frozen=True):
    """*survey* None: it could not be looked at, and its start will say why."""

    name: str
    survey: Survey | None


class Told(msgspec.Struct, frozen=True):
    """Of one start of an engine: what is told of an earlier *run* comes too late."""

    name: str
    run: int
    event: Event
    child: Child | None = None
    port: int = 0
    survey: Survey | None = None
    reason: str = ""


class Seen(msgspec.Struct, frozen=True):
    """What an engine does that may be stuck."""

    name: str
    run: int
    work: Work | None


class Busy(msgspec.Struct, frozen=True):
    """How many slots work, of an engine that has a line before it; None: it did not say."""

    name: str
    run: int
    slots: int | None


class Rests(msgspec.Struct, frozen=True):
    """Nobody has asked it for a while, if *idle_since* is still right."""

    name: str
    run: int
    idle_since: float


class Measured(msgspec.Struct, frozen=True):
    """By name, of the runs that were looked at."""

    shares: Mapping[str, tuple[int, Share]]


class Tick(msgspec.Struct, frozen=True):
    """Time has passed that changes a decision."""


class Closing(msgspec.Struct, frozen=True):
    """The gateway ends."""


News = (
    Arrived
    | Came
    | Left
    | Unwanted
    | Added
    | Forget
    | Surveyed
    | Told
    | Seen
    | Busy
    | Rests
    | Measured
    | Tick
    | Closing
)
