"""What is told of the engines: to metrics, to those who look, to a caller whose model can never fit."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from moltbot_edge.core.errors import ModelTooLarge
from moltbot_edge.local.lifecycle import Event, State
from moltbot_edge.local.record import MIB, Record


class Change(msgspec.Struct, frozen=True):
    """What happened to one engine, and the state it is in now: for metrics and logs."""

    name: str
    event: Event
    state: State


class Evicted(msgspec.Struct, frozen=True):
    """*why*: room (for another), turn (another had waited too long), ttl, grown (past the budget), stuck, asked, memory
    (that the machine lacks).
    """

    name: str
    why: str


class Waited(msgspec.Struct, frozen=True):
    """A request got its engine."""

    name: str
    seconds: float


class Refused(msgspec.Struct, frozen=True):
    """*why*: too-large (for the budget), memory (the machine has not got it), queue (too many wait, or too long)."""

    name: str
    why: str


Note = Evicted | Waited | Refused


class Room(msgspec.Struct, frozen=True):
    """What one engine is expected to take, was predicted to, and does; requests that wait for it and that it serves."""

    state: str
    needed_bytes: int
    predicted_bytes: int
    measured_bytes: int
    waiting: int
    serving: int
    pinned: bool


class Account(msgspec.Struct, frozen=True):
    """*limit_bytes* None: not known yet."""

    limit_bytes: int | None
    engines: Mapping[str, Room]


def too_large(record: Record, room_bytes: int, limit_bytes: int) -> ModelTooLarge:
    """The numbers, and what could be done."""
    survey = record.survey
    needs = f"model {record.name!r} needs {record.need_bytes() / MIB:.0f} MiB"
    given = f"engines may take {limit_bytes / MIB:.0f} MiB together (`engines.memory_mb`)"
    if room_bytes < limit_bytes:
        given += f", of which pinned ones leave {max(room_bytes, 0) / MIB:.0f}"
    if survey is None or not survey.launch.keeps_context:
        return ModelTooLarge(f"{needs}, and {given}")
    tokens = survey.longest_context(room_bytes - (record.need_bytes() - survey.footprint.total))
    context = f"with a context of {survey.launch.context_tokens} tokens"
    if tokens:
        return ModelTooLarge(f"{needs} {context}, and {given}: it would fit with {tokens} tokens (`context_tokens`)")
    return ModelTooLarge(f"{needs} {context}, and {given}: no context is short enough")
