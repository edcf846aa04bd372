"""The line before an engine: who waits is let in as it has slots, and turned away where they are too many, or too late.

Touches the records of `owner`, for it and at its word. Which engine runs is not decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from moltbot_edge.config.schema import Engines
from moltbot_edge.core.errors import GatewayError, Overloaded
from moltbot_edge.local.account import Note, Refused, Waited
from moltbot_edge.local.attendants import Attendants
from moltbot_edge.local.leases import Tenant
from moltbot_edge.local.lifecycle import State
from moltbot_edge.local.profile import HOST
from moltbot_edge.local.record import Record

QUEUE_RETRY_S = 30.0


class Line:
    """Of every engine. *begin* and *on_note* are `owner.Owner`'s."""

    def __init__(
        self,
        engines: Engines,
        attendants: Attendants,
        begin: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        on_note: Callable[[Note], None],
    ) -> None:
        self._engines = engines
        self._attendants = attendants
        self._begin = begin
        self._on_note = on_note

    def join(self, record: Record, tenant: Tenant) -> bool:
        """False, and *tenant* knows why, where as many wait as may."""
        if len(record.waiting) >= self._engines.queue:
            tenant.granted.set_exception(self._overloaded(record, "as many as may (`engines.queue`)"))
            return False
        record.waiting[tenant] = None
        return True

    def leave(self, record: Record, tenant: Tenant) -> None:
        del record.waiting[tenant]
        self._mind(record)

    def grant(self, record: Record, now: float, spare: int = 0) -> None:
        """To as many as it has slots for, the first first. *spare* slots are free although they are let."""
        slots = record.slots
        while record.waiting and (slots is None or len(record.leased) < slots or spare > 0):
            tenant = next(iter(record.waiting))
            del record.waiting[tenant]
            if not tenant.granted.done():
                spare -= slots is not None and len(record.leased) >= slots
                tenant.granted.set_result((HOST, record.port))
                record.leased.add(tenant)
                if tenant.wish.keep_s is not None:
                    record.keep_s = tenant.wish.keep_s
                self._on_note(Waited(record.name, now - tenant.since))
        self._mind(record)

    def refuse(self, record: Record, error: GatewayError) -> None:
        """All who wait for it."""
        for tenant in record.waiting:
            if not tenant.granted.done():
                tenant.granted.set_exception(error)
        record.waiting.clear()

    def turn_away_the_late(self, records: Iterable[Record], now: float) -> tuple[list[Tenant], float | None]:
        """Who has waited too long, and still has to `leave`; and when the next one will have."""
        limit_s = self._engines.queue_s
        late: list[Tenant] = []
        first: float | None = None
        for record in records:
            for tenant in record.waiting:  # in the order of their coming
                if now - tenant.since < limit_s:
                    first = min(tenant.since + limit_s, first if first is not None else tenant.since + limit_s)
                    break
                if not tenant.granted.done():
                    why = f"and this one has for {limit_s:g} s (`engines.queue_s`)"
                    tenant.granted.set_exception(self._overloaded(record, why))
                late.append(tenant)
        return late, first

    def _overloaded(self, record: Record, why: str) -> Overloaded:
        self._on_note(Refused(record.name, "queue"))
        waiting = len(record.waiting)
        return Overloaded(f"{waiting} requests wait for model {record.name!r}, {why}", retry_after_s=QUEUE_RETRY_S)

    def _mind(self, record: Record) -> None:
        """Somebody looks after those who wait for a slot of an engine that is there."""
        if record.waiting and record.line is None and record.engine.state is State.READY:
            record.line = self._begin(self._attendants.watch_line(record.name, record.run, record.port))
        elif not record.waiting and record.line is not None:
            record.line.cancel()
            record.line = None
