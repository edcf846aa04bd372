"""All engines of this board. One task owns what is known of them, decides by `lifecycle`, and carries out its effects.

Everybody else sends news: a request that wants a model, a child that ended, a timer. Nothing here reads the state of
an engine in order to change it, except that task; so there is no moment at which two starts of one model can meet.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from moltbot_edge.config.schema import Engines
from moltbot_edge.core.errors import EngineFailed
from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.lease import Lease, Wish
from moltbot_edge.local import health
from moltbot_edge.local.launch import CannotStart, EngineModel, Launcher
from moltbot_edge.local.lifecycle import Effect, Engine, Event, State, step
from moltbot_edge.local.process import KILL_S, Child, how_it_ended, spawn
from moltbot_edge.local.profile import HOST

__all__ = ["Change", "EngineModel", "Supervisor"]

FIRST_POLL_S, LONGEST_POLL_S = 0.05, 0.5  # a warm file loads in less than the first, a cold one takes minutes
SLOTS_POLL_S = 2.0  # see `health.is_idle`
SHOWN_LINES = 12  # of an engine's output, in an error: llama-server says what is wrong some eight lines before its end

Address = tuple[str, int]
T = TypeVar("T")


class Change(msgspec.Struct, frozen=True):
    """What happened to one engine, and the state it is in now: for metrics and logs."""

    name: str
    event: Event
    state: State


class _News(msgspec.Struct, frozen=True):
    """*run* numbers the starts of an engine: what is told of an earlier one comes too late."""

    name: str
    event: Event
    run: int | None = None
    waiter: asyncio.Future[Address] | None = None
    leaver: asyncio.Future[None] | None = None
    child: Child | None = None
    port: int = 0
    reason: str = ""


class _Record:
    """What the owner knows of one engine. Touched by no other task."""

    def __init__(self, model: EngineModel) -> None:
        self.model = model
        self.engine = Engine()
        self.run = 0
        self.child: Child | None = None
        self.port = 0
        self.reason = ""  # of the last end, the first that was told
        self.words: list[str] = []  # the engine's own last
        self.began = 0.0
        self.watch: asyncio.Task[None] | None = None
        self.waiters: set[asyncio.Future[Address]] = set()  # as many as requests are let in
        self.leavers: list[asyncio.Future[None]] = []


class Supervisor:
    """Runs from ``async with`` to its end, which stops every engine within ``engines.stop_s`` and a little more.

    *environment* is the gateway's own: an engine gets its PATH, its locale and its GPU's settings, no secret.
    *on_change* is called on the event loop.
    """

    def __init__(
        self,
        engines: Engines,
        models: Mapping[str, EngineModel],
        *,
        log: logging.Logger,
        environment: Mapping[str, str] = types.MappingProxyType({}),
        on_change: Callable[[Change], None] = lambda change: None,
    ) -> None:
        self._engines = engines
        self._log = log
        self._on_change = on_change
        self._launcher = Launcher(engines, environment, log)
        self._records = {name: _Record(model) for name, model in models.items()}
        self._inbox: asyncio.Queue[_News | None] = asyncio.Queue()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._owner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Supervisor:
        await self._group.__aenter__()
        self._owner = self._group.create_task(self._own())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._owner is not None
        self._inbox.put_nowait(None)
        try:
            await asyncio.wait({self._owner}, timeout=self._engines.stop_s + 2 * KILL_S)
        finally:
            if not self._owner.done():
                self._log.error("engines do not end: %s", self.states())
                self._owner.cancel()
            for task in self._tasks:
                task.cancel()
            await self._group.__aexit__(None, None, None)

    async def ensure_ready(self, name: str) -> Address:
        """Where the engine of *name* listens; started if it does not run. All who ask wait for one start.

        Raises `EngineFailed` with the reason, the engine's last words and when to ask again. Who is cancelled
        leaves alone; the start goes on. A name that was not given at the beginning is a `KeyError`.
        """
        self._records[name]
        self._must_run()
        waiter: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(_News(name, Event.WANTED, waiter=waiter))
        return await waiter

    @asynccontextmanager
    async def lease(self, name: str, wish: Wish) -> AsyncIterator[Lease]:
        """The engine of *name*, ready. Raises as `ensure_ready`."""
        yield _Lease(await self.ensure_ready(name))

    async def stop(self, name: str) -> None:
        """Let the engine of *name* finish what it does, and end it. A request that comes meanwhile starts it again."""
        self._records[name]
        self._must_run()
        leaver: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(_News(name, Event.UNWANTED, leaver=leaver))
        await leaver

    def states(self) -> dict[str, str]:
        return {name: record.engine.state.value for name, record in self._records.items()}

    def _must_run(self) -> None:
        if self._owner is None or self._owner.done():
            raise EngineFailed("the engines of this board are not running: the gateway starts or ends")

    # The owner: the only task that decides.

    async def _own(self) -> None:
        closing = False
        while not closing or any(one.engine.state is not State.STOPPED for one in self._records.values()):
            news = await self._inbox.get()
            if news is None:
                closing = True
                for name in self._records:
                    self._heed(_News(name, Event.SHUTDOWN))
            elif closing and news.event in (Event.WANTED, Event.UNWANTED):
                self._turn_away(news)
            else:
                self._heed(news)
        while not self._inbox.empty():
            if (late := self._inbox.get_nowait()) is not None:
                self._turn_away(late)

    def _heed(self, news: _News) -> None:
        record = self._records[news.name]
        if news.run not in (None, record.run):
            return
        if news.waiter is not None:
            if news.waiter.done():  # it left while this lay in the inbox
                return
            record.waiters.add(news.waiter)
            news.waiter.add_done_callback(record.waiters.discard)
        if news.leaver is not None:
            record.leavers.append(news.leaver)
        if news.child is not None:
            record.child, record.port = news.child, news.port
        record.reason = record.reason or news.reason
        before = record.engine
        record.engine, effects = step(before, news.event, self._now())
        self._after(record, before.state, news.event)
        for effect in effects:
            self._carry_out(record, effect)

    def _after(self, record: _Record, before: State, event: Event) -> None:
        state = record.engine.state
        if event in (Event.EXITED, Event.PORT_TAKEN):
            record.words = record.child.output.lines(SHOWN_LINES) if record.child is not None else []
            record.child = None
        if record.watch is not None and state is not before:
            record.watch.cancel()
            record.watch = None
        if state in (State.STOPPED, State.FAILED) or event is Event.EXITED:
            for leaver in record.leavers:
                _settle(leaver, None)
            record.leavers.clear()
        self._say(record, before, event)
        self._on_change(Change(record.model.name, event, state))

    def _say(self, record: _Record, before: State, event: Event) -> None:
        engine, name = record.engine, record.model.name
        if engine.state is before:
            return
        if engine.state is State.READY:
            self._log.info("engine %s: ready after %.1f s", name, self._now() - record.began)
        elif engine.state is State.FAILED:
            self._log.error(
                "engine %s: %s; rests for %.0f s%s",
                *(name, record.reason, engine.retry_at - self._now(), _quoted(record.words)),
            )
        elif event is Event.PORT_TAKEN:
            self._log.warning("engine %s: somebody else took port %d; tries another", name, record.port)
        else:
            self._log.info("engine %s: %s", name, engine.state.value)

    def _carry_out(self, record: _Record, effect: Effect) -> None:
        name, run = record.model.name, record.run
        match effect:
            case Effect.SPAWN:
                record.run += 1
                record.reason, record.words, record.began = "", [], self._now()
                taken = {other.port for other in self._records.values() if other.child is not None}
                self._begin(self._live(record.model, record.run, taken))
            case Effect.WATCH_HEALTH:
                record.watch = self._begin(self._watch_health(name, run, record.port))
            case Effect.WATCH_SLOTS:
                record.watch = self._begin(self._watch_slots(name, run, record.port))
            case Effect.STOP:
                if record.child is not None:
                    self._begin(self._stop(name, record.child))
            case Effect.REST:
                rest_s = max(0.0, record.engine.retry_at - self._now())
                asyncio.get_running_loop().call_later(rest_s, self._tell, name, Event.RESTED, run)
            case Effect.ANSWER:
                for waiter in tuple(record.waiters):
                    _settle(waiter, (HOST, record.port))
            case Effect.REFUSE:
                for waiter in tuple(record.waiters):
                    if not waiter.done():
                        waiter.set_exception(self._refusal(record))

    def _refusal(self, record: _Record) -> EngineFailed:
        name = record.model.name
        if record.engine.state is not State.FAILED:
            return EngineFailed(f"the engine of model {name!r} was stopped before it was ready")
        pause_s = max(0.0, record.engine.retry_at - self._now())
        return EngineFailed(
            f"the engine of model {name!r} is not running: {record.reason}{_quoted(record.words)}",
            retry_after_s=pause_s,
        )

    def _turn_away(self, news: _News) -> None:
        if news.waiter is not None and not news.waiter.done():
            news.waiter.set_exception(EngineFailed("the gateway is ending, and its engines with it"))
        if news.leaver is not None:
            _settle(news.leaver, None)

    # What goes on beside it, and only sends news.

    async def _live(self, model: EngineModel, run: int, taken_ports: set[int]) -> None:
        """One run of one engine, from looking for its program to its end."""
        name = model.name
        child = None
        try:
            command = await self._launcher.command(model, taken_ports)
            self._log.debug("engine %s: %s", name, " ".join(command.words))
            child = await spawn(
                command.words,
                environment=command.environment,
                on_line=lambda line: self._log.debug("engine %s: %s", name, line),
            )
            self._tell(name, Event.SPAWNED, run, child=child, port=command.port)
            how = how_it_ended(await child.ended())
            taken = any("couldn't bind" in line for line in child.output.lines())
            self._tell(name, Event.PORT_TAKEN if taken else Event.EXITED, run, reason=f"it {how}")
        except CannotStart as error:
            self._tell(name, Event.EXITED, run, reason=str(error))
        except OSError as error:
            self._tell(name, Event.EXITED, run, reason=f"it could not be started: {error}")
        finally:
            if child is not None:
                child.kill()

    async def _watch_health(self, name: str, run: int, port: int) -> None:
        pause_s = FIRST_POLL_S
        try:
            async with asyncio.timeout(self._engines.start_s):
                while not await health.is_ready(HOST, port):
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 1.5, LONGEST_POLL_S)
        except TimeoutError:
            reason = f"it was not ready within {self._engines.start_s:g} s (`engines.start_s`)"
            self._tell(name, Event.OVERDUE, run, reason=reason)
        else:
            self._tell(name, Event.HEALTHY, run)

    async def _watch_slots(self, name: str, run: int, port: int) -> None:
        while not await health.is_idle(HOST, port):  # noqa: ASYNC110  # the engine is asked: it tells nobody
            await asyncio.sleep(SLOTS_POLL_S)
        self._tell(name, Event.IDLE, run)

    async def _stop(self, name: str, child: Child) -> None:
        if not await child.stop(self._engines.stop_s):
            self._log.error("engine %s: process %d does not end, not even by SIGKILL", name, child.pid)

    def _tell(
        self, name: str, event: Event, run: int, child: Child | None = None, port: int = 0, reason: str = ""
    ) -> None:
        self._inbox.put_nowait(_News(name, event, run, child=child, port=port, reason=reason))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class _Lease:
    slot: int | None = None

    def __init__(self, address: Address) -> None:
        self.address = address

    def answered(self, usage: Usage | None, timings: Timings | None) -> None: ...


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _quoted(words: list[str]) -> str:
    return "; it said last:\n" + "\n".join(words) if words else ""
