"""Which engines run, under one memory budget: `(wanted, running, budget, now) -> start, stop, wait or refuse`. Pure.

The parts of it:

- nothing starts that does not fit beside all that runs, comes or goes; what can never fit is refused
- for room, idle engines go whose coming back is expected to cost the least; never one that serves, loads or is pinned
- an engine that has just loaded stays *min_warm_s*, so that two callers do not swap it to and fro
- as long as an engine has not gone it takes every request for it: they gather before a swap. Of the models that wait,
  the one with the most requests is next, so A B A B is answered as A A B B
- who has waited *max_wait_s* is next whatever the others are, and ends the rule before last: the engine in its way is
  closed, which lets it finish what it serves and gives it nothing new. So nobody starves.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from enum import StrEnum

import msgspec

FEW = 12  # engines among which every choice is looked at, 4,096 of them; a board has two or three


class Stage(StrEnum):
    COMING = "coming"  # starts, or loads
    HERE = "here"
    GOING = "going"  # finishes, or ends: its memory is not free before it is gone


class Running(msgspec.Struct, frozen=True):
    """*leases* counts what it serves. *since* and *idle_since* are monotonic; *return_cost_s* is expected seconds."""

    name: str
    bytes: int
    stage: Stage = Stage.HERE
    leases: int = 0
    pinned: bool = False
    since: float = 0.0
    idle_since: float = 0.0
    ttl_s: float | None = None
    return_cost_s: float = 0.0


class Wanted(msgspec.Struct, frozen=True):
    """*waiting* requests, the first *since* (monotonic). 0: it should run if there is room, and moves nobody."""

    name: str
    bytes: int
    waiting: int
    since: float


class Budget(msgspec.Struct, frozen=True):
    """*free_bytes* is what the machine could give now, whatever the budget says; None where that is not known.

    *lacking_bytes* is what the machine itself needs back.
    """

    limit_bytes: int
    min_warm_s: float = 0.0
    max_wait_s: float = 0.0
    free_bytes: int | None = None
    lacking_bytes: int = 0


class Decision(msgspec.Struct, frozen=True):
    """Names. *stop* are idle: of these, *expired* have reached their ttl. *close*: no new requests, then it stops.

    *again_at* is when time alone may change the decision; None: it does not.
    """

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()
    close: tuple[str, ...] = ()
    refuse: tuple[str, ...] = ()
    again_at: float | None = None


def place(wanted: Sequence[Wanted], running: Sequence[Running], budget: Budget, now: float) -> Decision:
    """No model is in both *wanted* and *running*, unless it goes: then it is wanted after that."""
    return _Placing(wanted, running, budget, now).decision()


def order(wanted: Sequence[Wanted], max_wait_s: float, now: float) -> list[Wanted]:
    """Who is next: those who waited too long, the longest first; then the most requests, then the longest."""

    def rank(one: Wanted) -> tuple[int, float, float]:
        if one.waiting and now - one.since >= max_wait_s:
            return 0, one.since, 0.0
        return 1 if one.waiting else 2, -one.waiting, one.since

    return sorted(wanted, key=rank)


def room(running: Sequence[Running], limit_bytes: int, but: str = "") -> int:
    """What a model could have at most: the budget without what is pinned."""
    return limit_bytes - sum(one.bytes for one in running if one.pinned and one.name != but)


def cheapest(candidates: Sequence[Running], need_bytes: int) -> tuple[Running, ...] | None:
    """Those whose going frees *need_bytes* at the least cost of coming back; None where all of them do not."""
    if need_bytes <= 0:
        return ()
    if sum(one.bytes for one in candidates) < need_bytes:
        return None
    if len(candidates) > FEW:
        return _greedy(candidates, need_bytes)
    enough = (
        chosen
        for count in range(1, len(candidates) + 1)
        for chosen in itertools.combinations(candidates, count)
        if sum(one.bytes for one in chosen) >= need_bytes
    )
    return min(enough, key=lambda chosen: (sum(one.return_cost_s for one in chosen), len(chosen)))


def _greedy(candidates: Sequence[Running], need_bytes: int) -> tuple[Running, ...]:
    """By cost per byte, then without those that turned out not to be needed."""
    chosen: list[Running] = []
    for one in sorted(candidates, key=lambda one: one.return_cost_s / max(one.bytes, 1)):
        if sum(other.bytes for other in chosen) < need_bytes:
            chosen.append(one)
    for one in sorted(chosen, key=lambda one: -one.return_cost_s):
        if sum(other.bytes for other in chosen) - one.bytes >= need_bytes:
            chosen.remove(one)
    return tuple(chosen)


class _Placing:
    """One decision being made: what is free, what will be, and who has been told to go."""

    def __init__(self, wanted: Sequence[Wanted], running: Sequence[Running], budget: Budget, now: float) -> None:
        self._wanted = order(wanted, budget.max_wait_s, now)
        self._running = running
        self._budget = budget
        self._now = now
        budgeted = budget.limit_bytes - sum(one.bytes for one in running)
        self._free = budgeted if budget.free_bytes is None else min(budgeted, budget.free_bytes)
        self._over = max(-budgeted, budget.lacking_bytes)
        self._coming_back = sum(one.bytes for one in running if one.stage is Stage.GOING)
        self._start: list[str] = []
        self._stop: list[str] = []
        self._expired: list[str] = []
        self._close: list[str] = []
        self._refuse: list[str] = []
        self._times: list[float] = []

    def decision(self) -> Decision:
        self._shrink()
        for one in self._wanted:
            if one.bytes > room(self._running, self._budget.limit_bytes, one.name):
                self._refuse.append(one.name)
            else:
                self._admit(one)
        self._expire()
        return Decision(
            tuple(self._start),
            tuple(self._stop),
            tuple(self._expired),
            tuple(self._close),
            tuple(self._refuse),
            min((at for at in self._times if at > self._now), default=None),
        )

    def _shrink(self) -> None:
        """Something has grown, of ours or beside us. Idle engines go, warm or not."""
        over = self._over - self._coming_back
        if over <= 0:
            return
        idle = [one for one in self._running if self._is_idle(one)]
        for one in cheapest(idle, over) or idle:
            self._let_go(one)

    def _admit(self, one: Wanted) -> None:
        if any(other.name == one.name for other in self._running):
            return  # it goes, and comes back once it has gone
        overdue = one.waiting > 0 and self._now - one.since >= self._budget.max_wait_s
        if one.bytes <= self._free:
            self._start.append(one.name)
            self._free -= one.bytes
            return
        if not one.waiting:
            return
        need = one.bytes - self._free - self._coming_back
        if need <= 0 or self._make_room(one, need, overdue) or overdue:
            self._keep_for(one.bytes)

    def _make_room(self, one: Wanted, need: int, overdue: bool) -> bool:
        idle = [other for other in self._running if self._is_idle(other)]
        warm_until = {other.name: other.since + self._budget.min_warm_s for other in idle}
        ready = idle if overdue else [other for other in idle if warm_until[other.name] <= self._now]
        chosen = cheapest(ready, need)
        if chosen is None and overdue:
            serving = [other for other in self._running if self._may_go(other)]
            chosen = cheapest(serving, need)
        if chosen is not None:
            for other in chosen:
                self._let_go(other)
            return True
        self._times += [one.since + self._budget.max_wait_s, *warm_until.values()]

        return False

    def _keep_for(self, size: int) -> None:
        """Nobody after this one gets what is coming back, nor what is free beyond the rest that it needs."""
        of_free = max(0, size - self._coming_back)
        self._coming_back = max(0, self._coming_back - size)
        self._free = max(0, self._free - of_free)

    def _expire(self) -> None:
        for one in self._running:
            if one.ttl_s is None or not self._is_idle(one):
                continue
            ends_at = one.idle_since + one.ttl_s
            if ends_at <= self._now:
                self._let_go(one)
                self._expired.append(one.name)
            else:
                self._times.append(ends_at)

    def _let_go(self, one: Running) -> None:
        (self._close if one.leases else self._stop).append(one.name)
        self._coming_back += one.bytes

    def _is_idle(self, one: Running) -> bool:
        return self._may_go(one) and not one.leases

    def _may_go(self, one: Running) -> bool:
        gone = one.name in self._stop or one.name in self._close
        return one.stage is Stage.HERE and not one.pinned and not gone
