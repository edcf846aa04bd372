"""The owner of all engines: the only task that decides, by `lifecycle` for each and by `placement` for all of them.

It is told `news`, and nobody else reads what it knows in order to change something. So there is no moment at which two
starts of one model can meet, or two models are given the same memory. `attendants` carry out what it decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from moltbot_edge.config.schema import Engines
from moltbot_edge.core.errors import EngineFailed, GatewayError
from moltbot_edge.local import holding, outlook, placement
from moltbot_edge.local.account import Change, Evicted, Note, Refused, too_large
from moltbot_edge.local.attendants import Attendants, quoted
from moltbot_edge.local.health import suspicion
from moltbot_edge.local.keeping import IDLE_S, Keeper
from moltbot_edge.local.launch import EngineModel, Launcher
from moltbot_edge.local.leases import Tenant
from moltbot_edge.local.lifecycle import Effect, Event, State, step
from moltbot_edge.local.line import Line
from moltbot_edge.local.memory import Memory, Share
from moltbot_edge.local.news import (
    Added,
    Arrived,
    Busy,
    Came,
    Closing,
    Farewell,
    Forget,
    Left,
    Measured,
    News,
    Rests,
    Seen,
    Surveyed,
    Tick,
    Told,
    Unwanted,
)
from moltbot_edge.local.placement import Budget, Decision, Running, Wanted
from moltbot_edge.local.record import Record, Returning
from moltbot_edge.local.weighing import Weighing

SHOWN_LINES = 12  # of an engine's output, in an error: llama-server says what is wrong some eight lines before its end
RETURN_S = 3.0  # for memory to come back after a process has ended; a GPU's driver takes its time
SHORT_S = 30.0  # for a machine to have what the budget promised, then 503
ENDING = "the gateway is ending, and its engines with it"
PROGRESS_S = 1.0
AGAIN_S = 0.2  # between two looks at memory that is to come back
WISH_S = 5.0  # and where nobody waits for it: what is pinned, or crashed, starts once there is room

T = TypeVar("T")


class Owner:
    """*begin* starts a task that ends with the gateway; *on_change* and *on_note* are called on the event loop.

    `records` and `limit_bytes` (None before it is known) may be read by others, to be shown.
    """

    def __init__(
        self,
        engines: Engines,
        models: Mapping[str, EngineModel],
        launcher: Launcher,
        keeper: Keeper,
        memory: Memory,
        log: logging.Logger,
        begin: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        on_change: Callable[[Change], None],
        on_note: Callable[[Note], None],
    ) -> None:
        self.records = {name: Record(model) for name, model in models.items()}
        self.limit_bytes: int | None = None
        self.attendants = Attendants(engines, launcher, keeper, memory, log, self.tell)
        self._line = Line(engines, self.attendants, begin, on_note)
        self._weighing = Weighing(self.attendants, memory, begin)
        self._engines = engines
        self._keeper = keeper
        self._memory = memory
        self._log = log
        self._begin = begin
        self._on_change = on_change
        self._on_note = on_note
        self._inbox: asyncio.Queue[News] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._progress_at = 0.0

    def tell(self, news: News) -> None:
        self._inbox.put_nowait(news)

    def leave(self) -> None:
        """No timer is left behind."""
        if self._timer is not None:
            self._timer.cancel()

    async def own(self) -> None:
        """Until `Closing` was told and every engine has stopped. Nobody is left waiting, however it ends."""
        try:
            await self._own()
        finally:
            for record in self.records.values():
                self._line.refuse(record, EngineFailed(ENDING))
            while not self._inbox.empty():
                self._turn_away(self._inbox.get_nowait())

    async def _own(self) -> None:
        closing = False
        while not closing or any(one.engine.state is not State.STOPPED for one in self.records.values()):
            several = [await self._inbox.get()]
            while not self._inbox.empty():
                several.append(self._inbox.get_nowait())
            for news in several:
                if isinstance(news, Closing):
                    closing = True
                    for record in self.records.values():
                        self._step(record, Event.SHUTDOWN)
                elif closing and isinstance(news, Came | Unwanted | Forget):
                    self._turn_away(news)
                else:
                    self._heed(news)
            if not closing:
                self._place()

    def _heed(self, news: News) -> None:
        if isinstance(news, Surveyed | Told | Seen | Busy | Rests) and news.name not in self.records:
            return  # late news of a model that was forgotten
        match news:
            case Arrived(limit_bytes):
                self.limit_bytes = limit_bytes
                self._log.debug("engines may take %d MiB together", limit_bytes >> 20)
                for record in self.records.values():
                    if record.model.pin:
                        self._step(record, Event.WANTED)
            case Came(tenant):
                self._came(tenant)
            case Left(tenant):
                self._left(tenant)
            case Unwanted(name, leaver):
                if name in self.records:
                    self.records[name].leavers.append(leaver)
                    self._step(self.records[name], Event.UNWANTED, why="asked")
                else:
                    _settle(leaver, None)
            case Added(model):
                self._added(model)
            case Forget(name, told):
                _settle(told, self._forget(name))
            case Surveyed(name, survey):
                self.records[name].surveying = False
                self.records[name].looked_at(survey)
            case Told(name, run):
                if self.records[name].run == run:
                    self._told(self.records[name], news)
            case Seen(name, run, work):
                record = self.records[name]
                if record.run == run and record.engine.state in (State.READY, State.DRAINING):
                    record.suspicion = suspicion(record.suspicion, work, len(record.leased), self._now())
                    if record.suspicion is not None and record.suspicion.stuck(self._now(), self._engines.stuck_s):
                        self._condemn(record, "stuck", self.attendants.stuck())
            case Busy(name, run, slots):
                record = self.records[name]
                if record.run == run and record.engine.state is State.READY:
                    spare = 0 if slots is None or record.slots is None else record.slots - slots
                    self._line.grant(record, self._now(), spare)
            case Rests(name, run, idle_since):
                record = self.records[name]
                if (record.run, record.idle_since) == (run, idle_since) and not record.leased:
                    record.resting = self._begin(self.attendants.rest(name, record.port))
            case Measured(shares):
                self._measured(shares)

    def _came(self, tenant: Tenant) -> None:
        record = self.records.get(tenant.name)
        if tenant.granted.done():  # it left while this lay in the inbox
            return
        if record is None:
            tenant.granted.set_exception(EngineFailed(f"model {tenant.name!r} was removed"))
            return
        record.demand.heard(self._now())
        if self._line.join(record, tenant):
            self._step(record, Event.WANTED)

    def _left(self, tenant: Tenant) -> None:
        record = self.records.get(tenant.name)
        if record is None:
            return
        if tenant in record.waiting:
            self._line.leave(record, tenant)
            gone = (State.STOPPED, State.DRAINING, State.STOPPING)
            if not record.waiting and not record.model.pin and record.engine.state in gone and record.engine.wanted:
                self._step(record, Event.UNWANTED)
            return
        if tenant not in record.leased:
            return
        record.leased.discard(tenant)
        if tenant.answered:
            record.told(tenant)
        if record.engine.state not in (State.READY, State.DRAINING):
            return
        watched = record.suspect is not None and not record.suspect.done()
        if tenant.sent and not tenant.answered and not watched and record.model.is_llama_server:
            watch = self.attendants.watch_suspect(record.name, record.run, record.port)
            record.suspect = self._begin(watch)
        if record.engine.state is State.READY:
            self._line.grant(record, self._now())
        if not record.leased:
            record.idle_since = now = self._now()
            if record.rest_timer is not None:
                record.rest_timer.cancel()
            rests = Rests(record.name, record.run, now)
            record.rest_timer = asyncio.get_running_loop().call_later(IDLE_S, self.tell, rests)
            if record.engine.state is State.DRAINING and record.watch is None:
                self._carry_out(record, Effect.WATCH_SLOTS, Event.UNWANTED, State.DRAINING)

    def _added(self, model: EngineModel) -> None:
        record = self.records.get(model.name)
        if record is None:
            self.records[model.name] = Record(model)
        else:  # for its next start
            record.model = model

    def _forget(self, name: str) -> Farewell:
        record = self.records.get(name)
        if record is None:
            return Farewell.FORGOTTEN
        if record.leased or record.waiting:
            return Farewell.IN_USE
        if record.runs or record.returning is not None:
            return Farewell.RUNS
        del self.records[name]
        return Farewell.FORGOTTEN

    def _told(self, record: Record, news: Told) -> None:
        if news.child is not None:
            record.child, record.port = news.child, news.port
        if news.survey is not None:
            record.looked_at(news.survey)
        record.reason = record.reason or news.reason
        self._step(record, news.event, why="stuck" if news.event is Event.CONDEMNED else "")

    def _condemn(self, record: Record, why: str, reason: str) -> None:
        record.reason = record.reason or reason
        self._log.error("engine %s: %s; it is ended", record.name, reason)
        self._step(record, Event.CONDEMNED, why=why)

    # One event of one engine, and what follows from it.

    def _step(self, record: Record, event: Event, why: str = "") -> None:
        before = record.engine
        record.engine, effects = step(before, event, self._now())
        self._after(record, before.state, event)
        if why and before.state is State.READY and record.engine.state is not State.READY:
            self._on_note(Evicted(record.name, why))
        for effect in effects:
            self._carry_out(record, effect, event, before.state)
        if record.waiting and not record.engine.wanted and before.state is State.READY:
            if event is Event.SHUTDOWN:
                self._line.refuse(record, self._refusal(record))
            else:  # who stood in its line is served by the next
                self._step(record, Event.WANTED)

    def _after(self, record: Record, before: State, event: Event) -> None:
        state = record.engine.state
        if event in (Event.EXITED, Event.PORT_TAKEN):
            self._buried(record)
        if state is not before:
            self._progress_at = 0.0  # who waits is told at once
            if record.watch is not None:
                record.watch.cancel()
                record.watch = None
        if before is State.READY and state is not State.READY:
            record.closed_at = self._now()
        if state is State.STOPPED and (before is not State.STOPPED or not record.engine.wanted):
            record.surveyed = False
        if state is State.READY and before is not State.READY:
            record.loaded(self._now())
            record.idle_since = self._now()
        if state in (State.STOPPED, State.FAILED) or event is Event.EXITED:
            for leaver in record.leavers:
                _settle(leaver, None)
            record.leavers.clear()
        self._say(record, before, event)
        self._on_change(Change(record.name, event, state))

    def _buried(self, record: Record) -> None:
        """Its process has gone, and all that it started."""
        child = record.child
        record.words = child.output.lines(SHOWN_LINES) if child is not None else []
        for tenant in record.leased:
            _settle(tenant.ended, f"the engine of model {record.name!r} ended: {record.reason}{quoted(record.words)}")
        if child is not None:
            self._keeper.gone(record.name)
            held = record.share.pss - record.share.mapped
            record.returning = Returning(held, record.available_before + held * 4 // 5, self._now() + RETURN_S)
        for task in (record.suspect, record.resting, record.line):
            if task is not None:
                task.cancel()
        record.child = record.suspect = record.resting = record.line = record.suspicion = None
        record.share, record.peak_bytes, record.served = Share(), 0, 0

    def _say(self, record: Record, before: State, event: Event) -> None:
        engine, name = record.engine, record.name
        if engine.state is before:
            return
        if engine.state is State.READY:
            self._log.info("engine %s: ready after %.1f s", name, self._now() - record.began)
        elif engine.state is State.FAILED:
            self._log.error(
                "engine %s: %s; rests for %.0f s%s",
                *(name, record.reason, engine.retry_at - self._now(), quoted(record.words)),
            )
        elif event is Event.PORT_TAKEN:
            self._log.warning("engine %s: somebody else took port %d; tries another", name, record.port)
        else:
            self._log.info("engine %s: %s", name, engine.state.value)

    def _carry_out(self, record: Record, effect: Effect, event: Event, before: State) -> None:
        name, attendants = record.name, self.attendants
        match effect:
            case Effect.PLACE:  # with all the others, once every news has been heeded
                if not record.surveyed:
                    record.surveyed = record.surveying = True
                    self._begin(attendants.survey(record.model))
            case Effect.SPAWN:
                record.run += 1
                record.reason, record.words, record.began = "", [], self._now()
                record.returning, record.available_before = None, 0
                taken = {other.port for other in self.records.values() if other.child is not None}
                self._begin(attendants.live(record.model, record.run, taken))
            case Effect.WATCH_HEALTH:
                record.watch = self._begin(attendants.watch_health(record.model, record.run, record.port))
            case Effect.WATCH_SLOTS:
                if not record.leased:
                    record.watch = self._begin(attendants.watch_slots(record.model, record.run, record.port))
            case Effect.STOP:
                if record.child is not None:
                    record.available_before = self._memory.available()
                    keep = before in (State.READY, State.DRAINING) and not record.leased
                    keep = keep and event is not Event.CONDEMNED
                    self._begin(attendants.stop(name, record.child, record.port, record.resting, keep))
            case Effect.REST:
                rest_s = max(0.0, record.engine.retry_at - self._now())
                rested = Told(name, record.run, Event.RESTED)
                asyncio.get_running_loop().call_later(rest_s, self.tell, rested)
            case Effect.ANSWER:
                self._line.grant(record, self._now())
            case Effect.REFUSE:
                self._line.refuse(record, self._refusal(record))

    def _refusal(self, record: Record) -> GatewayError:
        name = record.name
        if record.engine.state is not State.FAILED:
            return EngineFailed(f"the engine of model {name!r} was stopped before it was ready")
        pause_s = max(0.0, record.engine.retry_at - self._now())
        return EngineFailed(
            f"the engine of model {name!r} is not running: {record.reason}{quoted(record.words)}",
            retry_after_s=pause_s,
        )

    def _turn_away(self, news: News) -> None:
        match news:
            case Came(tenant) if not tenant.granted.done():
                tenant.granted.set_exception(EngineFailed(ENDING))
            case Unwanted(_, leaver):
                _settle(leaver, None)
            case Forget(_, told) if not told.done():
                told.set_exception(EngineFailed(ENDING))
            case _:
                pass

    # Who runs: `placement` says it, of all of them together.

    def _place(self) -> None:
        if self.limit_bytes is None:
            return
        now, records, limit = self._now(), self.records, self.limit_bytes
        self._look_for_memory(now)
        wanted = [one for record in records.values() if (one := record.wanted(limit)) is not None]
        ttl_s = self._engines.ttl_s
        running = [one for record in records.values() for one in record.running(now, ttl_s, limit)]
        free = holding.free_bytes(running, records, self._memory.available()) if wanted else None
        lacking = self._weighing.lacking_bytes()
        budget = Budget(limit, self._engines.min_warm_s, self._engines.max_wait_s, free, lacking)
        said = placement.place(wanted, running, budget, now)
        room_bytes = {one.name: placement.room(running, limit, one.name) for one in wanted}
        for name in said.refuse:
            self._turn_down(records[name], too_large(records[name], room_bytes[name], limit), "too-large")
        for name in said.stop:
            why = "ttl" if name in said.expired else "memory" if lacking else "room" if wanted else "grown"
            self._step(records[name], Event.UNWANTED, why=why)
        for name in said.close:
            self._step(records[name], Event.UNWANTED, why="turn")
        for name in said.start:
            self._step(records[name], Event.ADMITTED)
        self._turn_down_who_waits_in_vain(wanted, running, said, free, now)
        late, overdue_at = self._line.turn_away_the_late(records.values(), now)
        for tenant in late:
            self._left(tenant)
        self._tell_progress(wanted, now)
        self._weighing.go_on(self.records)
        self._wake(said, wanted, overdue_at, now)

    def _look_for_memory(self, now: float) -> None:
        """Forget what has come back, or has had its time."""
        waited_for = [record for record in self.records.values() if record.returning is not None]
        available = self._memory.available() if waited_for else 0
        for record in waited_for:
            assert record.returning is not None
            if available >= record.returning.available or now >= record.returning.until:
                record.returning = None

    def _turn_down(self, record: Record, error: GatewayError, why: str) -> None:
        for _ in record.waiting:
            self._on_note(Refused(record.name, why))
        if record.waiting or record.model.pin:
            self._log.warning("model %s: %s", record.name, error.message)
        self._line.refuse(record, error)
        self._step(record, Event.UNWANTED)

    def _turn_down_who_waits_in_vain(
        self, wanted: list[Wanted], running: list[Running], said: Decision, free: int | None, now: float
    ) -> None:
        """Nothing of ours could go, and the machine has not got what the budget promised."""
        if free is None or any(not one.pinned for one in running):
            return
        for one in wanted:
            if one.name in said.start or one.name in said.refuse or one.bytes <= free:
                continue
            if one.waiting and now - one.since >= SHORT_S:
                error = EngineFailed(
                    f"model {one.name!r} needs {one.bytes >> 20} MiB, and this machine has {max(free, 0) >> 20} free:"
                    " something else has taken the rest",
                    retry_after_s=SHORT_S,
                )
                self._turn_down(self.records[one.name], error, "memory")

    def _wake(self, said: Decision, wanted: list[Wanted], overdue_at: float | None, now: float) -> None:
        """Come again when time will have changed something."""
        times = [at for at in (said.again_at, overdue_at) if at is not None]
        if any(one.waiting for one in wanted) or any(one.returning is not None for one in self.records.values()):
            times.append(now + AGAIN_S)
        elif wanted:
            times.append(now + WISH_S)
        if self._progress_at > now:
            times.append(self._progress_at)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if times:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, min(times) - now), self.tell, Tick())

    def _measured(self, shares: Mapping[str, tuple[int, Share]]) -> None:
        limit = self.limit_bytes or 0
        self._weighing.weighed(self.records, shares, limit)
        grown = holding.overgrown(self.records.values(), self.limit_bytes)
        if grown is not None:
            reason = (
                f"it takes {grown.share.pss >> 20} MiB, and all engines together may take"
                f" {limit >> 20} (`engines.memory_mb`)"
            )
            self._condemn(grown, "grown", reason)

    # What a caller who asked for it sees while it waits.

    def _tell_progress(self, wanted: list[Wanted], now: float) -> None:
        if now >= self._progress_at and any(map(outlook.is_heard, self.records.values())):
            self._progress_at = now + PROGRESS_S
            in_order = placement.order(wanted, self._engines.max_wait_s, now)
            outlook.tell(self.records, in_order, self._memory.read_bytes)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)
