"""Of the engines, what metrics show: counted when it happens, read when somebody looks."""

from __future__ import annotations

from moltbot_edge.local.account import Account, Change, Evicted, Note, Refused, Waited
from moltbot_edge.local.lifecycle import Event
from moltbot_edge.metrics.catalogue import Metrics


class Tally:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def change(self, change: Change) -> None:
        starts, exits = self._metrics.engine_starts.cell(change.name), self._metrics.engine_exits.cell(change.name)
        if change.event is Event.SPAWNED:
            starts.add()
        elif change.event in (Event.EXITED, Event.PORT_TAKEN) and exits.value < starts.value:  # else it never was one
            exits.add()

    def note(self, note: Note) -> None:
        match note:
            case Evicted(name, why):
                self._metrics.engine_evictions.cell(name, why).add()
            case Refused(name, why):
                self._metrics.engine_refusals.cell(name, why).add()
            case Waited(name, seconds):
                self._metrics.engine_wait_seconds.cell(name).observe(seconds)

    def read(self, account: Account) -> None:
        metrics = self._metrics
        metrics.engines_budget_bytes.cell().set(account.limit_bytes or 0)
        for name, room in account.engines.items():
            metrics.engine_bytes.cell(name, "expected").set(room.needed_bytes)
            metrics.engine_bytes.cell(name, "predicted").set(room.predicted_bytes)
            metrics.engine_bytes.cell(name, "measured").set(room.measured_bytes)
            metrics.engine_requests.cell(name, "waiting").set(room.waiting)
            metrics.engine_requests.cell(name, "serving").set(room.serving)
