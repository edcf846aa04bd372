"""What is told to requests that wait, where their callers asked: their place, and how far a model has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from moltbot_edge.core.lease import Phase, Progress, unheard
from moltbot_edge.local.lifecycle import State
from moltbot_edge.local.placement import Wanted
from moltbot_edge.local.record import Record

ALMOST = 0.99  # what was read is not yet ready


def is_heard(record: Record) -> bool:
    return any(tenant.wish.on_progress is not unheard for tenant in record.waiting)


def tell(records: Mapping[str, Record], in_order: Sequence[Wanted], read_bytes: Callable[[int], int]) -> None:
    """*in_order* are the models that wait for room, the next one first; *read_bytes* is `memory.Memory`'s."""
    ahead = 0
    for one in in_order:
        for position, tenant in enumerate(records[one.name].waiting):
            tenant.wish.on_progress(Progress(Phase.QUEUED, ahead + position))
        ahead += one.waiting
    for record in records.values():
        match record.engine.state:
            case State.LOADING if record.child is not None and record.weights_bytes:
                done = read_bytes(record.child.pid) / record.weights_bytes
                progress = Progress(Phase.LOADING, done=min(done, ALMOST))
            case State.STARTING | State.LOADING:
                progress = Progress(Phase.LOADING)
            case State.READY:
                for position, tenant in enumerate(record.waiting):
                    tenant.wish.on_progress(Progress(Phase.QUEUED, position))
                continue
            case State.DRAINING | State.STOPPING:
                progress = Progress(Phase.QUEUED, ahead)
            case _:
                continue
        for tenant in record.waiting:
            tenant.wish.on_progress(progress)
