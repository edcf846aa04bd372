"""What goes on beside the owner of the engines, one coroutine to a duty. They look and act; the owner decides."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from moltbot_edge.config.schema import Engines
from moltbot_edge.core.lease import Wish
from moltbot_edge.local import health, orphans
from moltbot_edge.local.keeping import BEFORE_STOP_S, READY_S, Keeper
from moltbot_edge.local.launch import CannotStart, EngineModel, Launcher
from moltbot_edge.local.leases import Address
from moltbot_edge.local.lifecycle import Event
from moltbot_edge.local.memory import Memory, Share, budget_bytes
from moltbot_edge.local.news import Arrived, Busy, Measured, News, Seen, Surveyed, Told
from moltbot_edge.local.process import Child, how_it_ended, spawn
from moltbot_edge.local.profile import HOST

FIRST_POLL_S, LONGEST_POLL_S = 0.05, 0.5  # a warm file loads in less than the first, a cold one takes minutes
SLOTS_POLL_S = 2.0  # see `health.work`
LISTENS_S = 1.0  # as long as llama-server takes to notice that a caller has left
# As llama-server says it, and what strerror(EADDRINUSE) is in other programs' words.
PORT_TAKEN = re.compile(r"couldn't bind|address already in use", re.IGNORECASE)
LINE_POLL_S = 5.0  # a look at the slots of an engine that others wait for


class Attendants:
    """*tell* puts news before the owner."""

    def __init__(
        self,
        engines: Engines,
        launcher: Launcher,
        keeper: Keeper,
        memory: Memory,
        log: logging.Logger,
        tell: Callable[[News], None],
    ) -> None:
        self._engines = engines
        self._launcher = launcher
        self._keeper = keeper
        self._memory = memory
        self._log = log
        self._tell = tell
        self._gateway = orphans.this_gateway()

    async def arrive(self) -> None:
        """End what a gateway before us left; then there is as much memory as there will be."""
        ended = await orphans.end_orphans(self._gateway)
        if ended:
            self._log.warning("ended what a killed gateway had left behind: %s", ", ".join(map(str, ended)))
        engines = self._engines
        limit = budget_bytes(engines.memory_mb, self._memory.available(), engines.reserve_percent)
        self._tell(Arrived(limit))

    async def survey(self, model: EngineModel) -> None:
        try:
            found = await self._launcher.survey(model)
        except (CannotStart, OSError):
            self._tell(Surveyed(model.name, None))
        else:
            self._tell(Surveyed(model.name, found))

    async def live(self, model: EngineModel, run: int, taken_ports: Collection[int]) -> None:
        """One run of one engine, from looking for its program to the end of all that it started."""
        name = model.name
        child, mark = None, f"{name}#{run}"

        def told(event: Event, reason: str) -> None:
            self._tell(Told(name, run, event, reason=reason))

        try:
            command = await self._launcher.command(model, taken_ports)
            self._log.debug("engine %s: %s", name, " ".join(command.words))
            child = await spawn(
                command.words,
                environment={**command.environment, **orphans.environment(self._gateway, mark)},
                on_line=lambda line: self._log.debug("engine %s: %s", name, line),
            )
            self._tell(Told(name, run, Event.SPAWNED, child, command.port, command.survey))
            how = how_it_ended(await child.ended())
            await self._end_rest(name, mark)
            taken = any(PORT_TAKEN.search(line) for line in child.output.lines())
            told(Event.PORT_TAKEN if taken else Event.EXITED, f"it {how}")
        except CannotStart as error:
            told(Event.EXITED, str(error))
        except OSError as error:
            told(Event.EXITED, f"it could not be started: {error}")
        finally:
            if child is not None:
                child.kill()

    async def watch_health(self, model: EngineModel, run: int, port: int) -> None:
        name, pause_s = model.name, FIRST_POLL_S
        try:
            async with asyncio.timeout(self._engines.start_s):
                while not await health.is_ready(HOST, port, model.health):
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 1.5, LONGEST_POLL_S)
        except TimeoutError:
            reason = f"it was not ready within {self._engines.start_s:g} s (`engines.start_s`)"
            self._tell(Told(name, run, Event.OVERDUE, reason=reason))
        else:
            await self.kept(name, self._keeper.ready(name, (HOST, port)), READY_S)
            self._tell(Told(name, run, Event.HEALTHY))

    async def watch_slots(self, model: EngineModel, run: int, port: int) -> None:
        """Until it is idle, which it is within a batch of its last caller's leaving, or it is stuck.

        Another program than llama-server has no slots to be seen: without a caller it counts as idle.
        """
        name = model.name
        if not model.is_llama_server:
            self._tell(Told(name, run, Event.IDLE))
            return
        try:
            async with asyncio.timeout(self._engines.stuck_s):
                while not await health.is_idle(HOST, port):  # noqa: ASYNC110  (it is asked: it tells nobody)
                    await asyncio.sleep(SLOTS_POLL_S)
        except TimeoutError:
            self._tell(Told(name, run, Event.CONDEMNED, reason=self.stuck()))
        else:
            self._tell(Told(name, run, Event.IDLE))

    async def watch_suspect(self, name: str, run: int, port: int) -> None:
        """Tell what it does, until it does nothing. Ended by the owner, where it comes to a judgement before that."""
        await asyncio.sleep(LISTENS_S)
        while (work := await health.work(HOST, port)) != ():
            self._tell(Seen(name, run, work))
            await asyncio.sleep(SLOTS_POLL_S)
        self._tell(Seen(name, run, work))

    async def watch_line(self, name: str, run: int, port: int) -> None:
        """A caller that reads slowly holds an engine that has long written its reply: others need not wait for that."""
        while True:
            await asyncio.sleep(LINE_POLL_S)
            work = await health.work(HOST, port)
            self._tell(Busy(name, run, None if work is None else len(work)))

    async def measure(self, children: Mapping[str, tuple[int, int]], after_s: float) -> None:
        """What each engine takes: *children* are run and pid by name."""
        await asyncio.sleep(after_s)
        self._tell(Measured(await asyncio.to_thread(self._shares, children)))

    async def stop(self, name: str, child: Child, port: int, resting: asyncio.Task[None] | None, keep: bool) -> None:
        """End it. *keep*: what its cache holds may be saved before, once *resting* has come to its end."""
        if keep:
            try:
                async with asyncio.timeout(BEFORE_STOP_S):
                    if resting is not None:
                        await asyncio.wait({resting})
                    await self.kept(name, self._keeper.before_stop(name, (HOST, port)), BEFORE_STOP_S)
            except TimeoutError:
                self._log.warning("engine %s: its cache was not saved within %.0f s", name, BEFORE_STOP_S)
        if resting is not None:
            resting.cancel()
        if not await child.stop(self._engines.stop_s):
            self._log.error("engine %s: process %d does not end, not even by SIGKILL", name, child.pid)

    async def rest(self, name: str, port: int) -> None:
        await self.kept(name, self._keeper.when_idle(name, (HOST, port)), None)

    async def slot(self, name: str, address: Address, wish: Wish) -> int | None:
        try:
            return await self._keeper.before_request(name, address, wish)
        except Exception:  # the keeper's fault must not cost an answer
            self._log.exception("engine %s: what its cache held was not restored", name)
            return None

    async def kept(self, name: str, work: Awaitable[None], limit_s: float | None) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await work
        except TimeoutError:
            self._log.warning("engine %s: what its cache holds took longer than %.0f s", name, limit_s)
        except Exception:  # as above
            self._log.exception("engine %s: what its cache holds could not be kept", name)

    def stuck(self) -> str:
        return f"it went on for {self._engines.stuck_s:g} s with what nobody waits for (`engines.stuck_s`)"

    async def _end_rest(self, name: str, mark: str) -> None:
        left = await orphans.end_rest(self._gateway.mark(mark))
        if left:
            self._log.warning("engine %s: ended what it had left behind: %s", name, ", ".join(map(str, left)))

    def _shares(self, children: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, Share]]:
        return {name: (run, self._memory.share(self._memory.family(pid))) for name, (run, pid) in children.items()}


def quoted(words: Sequence[str]) -> str:
    """The last words of an engine, for an error."""
    return "; it said last:\n" + "\n".join(words) if words else ""
