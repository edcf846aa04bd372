"""What engines hold of the memory: what is left to give, and who took what it was not given. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from moltbot_edge.local.lifecycle import State
from moltbot_edge.local.placement import Running, Stage
from moltbot_edge.local.record import MARGIN, Record


def free_bytes(running: Iterable[Running], records: Mapping[str, Record], available: int) -> int:
    """What the machine could give now, of what is *available*.

    Without what those that load will still take, and without the file pages that engines map: the kernel counts them
    as available, and giving them away would be swapping by another name.
    """
    coming = sum(max(0, one.bytes - records[one.name].share.pss) for one in running if one.stage is Stage.COMING)
    return available - coming - sum(record.share.mapped for record in records.values())


def overgrown(records: Collection[Record], limit_bytes: int | None) -> Record | None:
    """Who is to be ended: too much is taken in all, and idle engines that go would not make up for it."""
    taken = [record for record in records if record.runs and record.engine.state is not State.STOPPING]
    total = sum(record.share.pss for record in taken)
    if limit_bytes is None or total <= limit_bytes * MARGIN:
        return None
    idle = sum(
        record.share.pss
        for record in taken
        if record.engine.state is State.READY and not record.leased and not record.model.pin
    )
    worst = max(taken, key=lambda record: record.share.pss - record.predicted_bytes())
    if worst.share.pss > limit_bytes * MARGIN or total - idle > limit_bytes * MARGIN:
        return worst
    return None
