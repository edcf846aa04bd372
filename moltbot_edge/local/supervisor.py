"""All engines of this board, as the rest of the gateway sees them: a lease on one, and how they are.

What goes on behind it is in `owner`.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from moltbot_edge.config.schema import Engines
from moltbot_edge.core.errors import (
    ClosedUnanswered,
    EngineFailed,
    GatewayError,
    TruncatedReply,
    Unreachable,
    UpstreamTimeout,
)
from moltbot_edge.core.lease import Foresight, Lease, Wish
from moltbot_edge.local.account import Account, Change, Note, Room
from moltbot_edge.local.keeping import BEFORE_STOP_S, Keeper, KeepsNothing
from moltbot_edge.local.launch import EngineModel, Launcher, Survey
from moltbot_edge.local.leases import Address, EngineLease, Tenant
from moltbot_edge.local.lifecycle import State
from moltbot_edge.local.memory import Memory
from moltbot_edge.local.news import Added, Came, Closing, Farewell, Forget, Left, Unwanted
from moltbot_edge.local.owner import AGAIN_S, Owner
from moltbot_edge.local.process import KILL_S

__all__ = ["Account", "Change", "EngineModel", "Supervisor"]

LAST_NEWS_S = 2.0  # from a connection's end to that of the process behind it, with its last words


class Supervisor:
    """Runs from ``async with`` to its end, which stops every engine within ``engines.stop_s`` and a little more.

    *environment* is the gateway's own: an engine gets its PATH, its locale and its GPU's settings, no secret.
    *on_change* and *on_note* are called on the event loop, *on_read* at each `read`.
    """

    def __init__(
        self,
        engines: Engines,
        models: Mapping[str, EngineModel],
        *,
        log: logging.Logger,
        environment: Mapping[str, str] = types.MappingProxyType({}),
        on_change: Callable[[Change], None] = lambda change: None,
        on_note: Callable[[Note], None] = lambda note: None,
        on_read: Callable[[Account], None] = lambda account: None,
        keeper: Keeper = KeepsNothing(),  # noqa: B008  # it has no state
        memory: Memory | None = None,
    ) -> None:
        self._engines = engines
        self._log = log
        self._on_read = on_read
        self._keeper = keeper
        self._launcher = launcher = Launcher(engines, environment, log, keeper)
        self._owner = Owner(engines, models, launcher, keeper, memory or Memory(), log, self._begin, on_change, on_note)
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._owning: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Supervisor:
        await self._group.__aenter__()
        self._owning = self._group.create_task(self._owner.own())
        self._begin(self._owner.attendants.arrive())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._owning is not None
        self._owner.tell(Closing())
        try:
            await asyncio.wait({self._owning}, timeout=BEFORE_STOP_S + self._engines.stop_s + 2 * KILL_S)
        finally:
            if not self._owning.done():
                self._log.error("engines do not end: %s", self.states())
                self._owning.cancel()
            for task in self._tasks:
                task.cancel()
            self._owner.leave()
            await self._group.__aexit__(None, None, None)

    @asynccontextmanager
    async def lease(self, name: str, wish: Wish) -> AsyncIterator[Lease]:
        """The engine of *name*, ready, until it is left. Started if it does not run; all who ask wait for one start.

        Raises `EngineFailed` with the reason, the engine's last words and when to ask again, or `ModelTooLarge`.
        Inside, an upstream's error becomes the engine's where that has ended. Who is cancelled leaves alone; a start
        that has begun goes on. A name that was not given at the beginning is a `KeyError`.
        """
        async with self._tenancy(name, wish) as tenant:
            address = tenant.granted.result()
            slot = await self._owner.attendants.slot(name, address, wish)
            try:
                tenant.sent = True
                yield EngineLease(tenant, address, slot, self._keeper)
            except (ClosedUnanswered, TruncatedReply, Unreachable, UpstreamTimeout) as error:
                raise await self._explained(tenant, error) from error
            finally:
                if not tenant.answered and slot is not None:
                    self._keeper.left(name, slot)

    async def ensure_ready(self, name: str) -> Address:
        """Where the engine of *name* listens now. Nobody holds it: it may be gone at once. Raises as `lease`."""
        async with self._tenancy(name, Wish()) as tenant:
            return tenant.granted.result()

    @asynccontextmanager
    async def _tenancy(self, name: str, wish: Wish) -> AsyncIterator[Tenant]:
        """Entered once it is granted."""
        self._owner.records[name]
        self._must_run()
        tenant = Tenant(name, wish, asyncio.get_running_loop().time())
        self._owner.tell(Came(tenant))
        try:
            await tenant.granted
            yield tenant
        finally:
            if tenant.granted.done() and not tenant.granted.cancelled():
                tenant.granted.exception()  # heard, though its caller had just left
            self._owner.tell(Left(tenant))

    def add(self, model: EngineModel) -> None:
        """A model that there was not at the beginning, or another file for one that there was."""
        self._must_run()
        self._owner.tell(Added(model))

    async def forget(self, name: str) -> bool:
        """Nothing is left of it then. False while somebody waits for it or is answered, and nothing has happened."""
        while True:
            self._must_run()
            told: asyncio.Future[Farewell] = asyncio.get_running_loop().create_future()
            self._owner.tell(Forget(name, told))
            match await told:
                case Farewell.FORGOTTEN:
                    return True
                case Farewell.IN_USE:
                    return False
                case Farewell.RUNS:
                    self._owner.tell(Unwanted(name, asyncio.get_running_loop().create_future()))
                    await asyncio.sleep(AGAIN_S)

    async def survey(self, model: EngineModel) -> Survey:
        """What an engine of *model* would take if it started now. Raises `launch.CannotStart`."""
        return await self._launcher.survey(model)

    async def stop(self, name: str) -> None:
        """Let the engine of *name* finish what it does, and end it. A request that comes meanwhile starts it again."""
        self._owner.records[name]
        self._must_run()
        leaver: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner.tell(Unwanted(name, leaver))
        await leaver

    def states(self) -> dict[str, str]:
        return {name: record.engine.state.value for name, record in self._owner.records.items()}

    def foresees(self, name: str, trail: Sequence[int]) -> Foresight:
        """What a request with this trail (`core.stable.trail`) would find: for a router, nothing is decided by it."""
        record = self._owner.records.get(name)
        if record is None:  # it is just being removed
            return Foresight()
        load_s = 0.0 if record.engine.state is State.READY else record.expected_load_s()
        kept = self._keeper.foresees(name, trail)
        return Foresight(load_s + kept.ready_s, kept.cached_tokens)

    def account(self) -> Account:
        """What there is to give and who has it: for metrics and those who look. Nothing is decided by it."""
        return Account(
            self._owner.limit_bytes,
            {
                name: Room(
                    record.engine.state.value,
                    record.need_bytes(),
                    record.predicted_bytes(),
                    record.share.pss,
                    len(record.waiting),
                    len(record.leased),
                    record.model.pin,
                )
                for name, record in self._owner.records.items()
            },
        )

    def read(self) -> None:
        self._on_read(self.account())

    def _must_run(self) -> None:
        if self._owning is None or self._owning.done():
            raise EngineFailed("the engines of this board are not running: the gateway starts or ends")

    async def _explained(self, tenant: Tenant, error: GatewayError) -> GatewayError:
        """*error* as that of the engine, if it has ended: its process may take a moment longer than its connection."""
        wait_s = 0.0 if isinstance(error, UpstreamTimeout) else LAST_NEWS_S
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                return EngineFailed(await asyncio.shield(tenant.ended))
        return error

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
