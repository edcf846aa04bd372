"""The trial: callers go on with sessions, the gateway is killed and started anew, and what was kept is read."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from crashing import upstream
from crashing.callers import Caller
from crashing.gateway import SESSIONS, SOURCE, Gateway
from crashing.ledger import Conversation, Ledger
from crashing.upstream import Upstream
from moltbot_edge.core.store import StoreOptions
from moltbot_edge.kernel.registry import Registry
from moltbot_edge.stores.redis import LEASE_S

TIMEOUT_S = 7 * 24 * 3600.0
SIZE_MB = 4096
TURNS = (4, 40)  # of a session, until its caller begins another
KINDS = (None, None, "history", "chained")  # of a conversation: see `ledger`
LOAD_S = 0.6  # at most, from the first 200 to a kill
STARTING_S = 0.5  # at most, from the process's begin to a kill that does not wait for the first 200
CLOSE_S = 0.004  # at most, from what a kill aims at
LOOKS = 4  # of so many kills, after one the store is read here first, and not by the next gateway


@dataclass(frozen=True)
class Trial:
    """*redis* is the URL of a server, for sessions there instead of in a folder; then there may be several *gateways*.

    *power*: see the package.
    """

    kills: int
    callers: int = 6
    seed: int = 1
    command: Sequence[str] = SOURCE
    redis: str | None = None
    power: bool = False
    gateways: int = 1


@dataclass
class Found:
    """*aimed* are kills right at a reply's end, *idle* those before the gateway served. *faults* must be empty."""

    kills: int = 0
    aimed: int = 0
    idle: int = 0
    cut: int = 0
    seen: int = 0
    kept: int = 0
    sessions: int = 0
    shown: int = 0
    took_s: float = 0.0
    faults: list[str] = field(default_factory=list)


async def run(trial: Trial, folder: Path, progress: Callable[[Found], None] = lambda found: None) -> Found:
    """Everything it needs is in *folder*, which it fills."""
    chance, ledger, found = random.Random(trial.seed), Ledger(), Found()
    began = time.monotonic()
    async with upstream.serving(ledger.show, chance) as served:
        if trial.redis is None:
            store = {"store": "disk", "path": str(folder / SESSIONS), "size_mb": SIZE_MB}
        else:
            store = {"store": "redis", "url": trial.redis}
        sessions = {**store, "timeout_s": TIMEOUT_S}
        gateways = [
            Gateway(folder, f"gateway-{number}", served.url, sessions, command=trial.command, power=trial.power)
            for number in range(trial.gateways)
        ]
        course = _Course(trial, gateways, served, ledger, found, chance, folder)
        callers = [asyncio.create_task(course.caller(number)) for number in range(trial.callers)]
        try:
            for _ in range(trial.kills):
                await course.kill()
                found.took_s, found.seen, found.shown = time.monotonic() - began, ledger.seen, ledger.shown
                found.faults = ledger.faults
                progress(found)
                for task in callers:
                    if task.done():
                        task.result()
        finally:
            for task in callers:
                task.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            for gateway in gateways:
                if not gateway.killed:
                    gateway.kill()
        await course.end()
    found.took_s, found.seen, found.shown = time.monotonic() - began, ledger.seen, ledger.shown
    return found


class _Course:
    def __init__(
        self,
        trial: Trial,
        gateways: Sequence[Gateway],
        served: Upstream,
        ledger: Ledger,
        found: Found,
        chance: random.Random,
        folder: Path,
    ) -> None:
        self._trial, self._gateways, self._upstream, self._ledger = trial, gateways, served, ledger
        self._found, self._chance, self._folder = found, chance, folder
        self._seen = asyncio.Event()
        self._under_way: set[Conversation] = set()
        self._current: dict[int, Conversation] = {}  # by the number of a caller; the two first share one
        self._resting: list[tuple[float, Conversation]] = []

    async def caller(self, number: int) -> None:
        """Goes on until it is cancelled."""
        one = Caller(self._ledger, self._chance, self._seen.set)
        while True:
            while not (up := [gateway for gateway in self._gateways if gateway.up]):  # noqa: ASYNC110
                await asyncio.sleep(0.005)  # between a kill and the next start
            gateway = self._chance.choice(up)
            conversation = self._conversation(max(number, 1))
            self._under_way.add(conversation)
            kills = gateway.kills
            ended = await one.go_on(conversation, gateway)
            self._under_way.discard(conversation)
            if not ended and gateway.kills > kills:
                self._found.cut += 1
                if self._trial.redis is not None:  # the dead gateway's lease is waited for by nobody
                    self._rest(conversation)

    def _conversation(self, number: int) -> Conversation:
        """What the caller goes on with. One that rested long enough comes first."""
        found = self._current.get(number)
        if found is None or len(found.asked) >= self._chance.randrange(*TURNS):
            now = time.monotonic()
            if self._resting and self._resting[0][0] < now and number > 1:
                found = self._resting.pop(0)[1]
            else:
                kind = "shared" if number == 1 else self._chance.choice(KINDS)
                found = self._ledger.begin(f"s{len(self._ledger.conversations)}", **{kind: True} if kind else {})
            self._current[number] = found
        return found

    def _rest(self, conversation: Conversation) -> None:
        for number, one in list(self._current.items()):
            if one is conversation:
                del self._current[number]
                if not one.shared:
                    self._resting.append((time.monotonic() + LEASE_S + 1, one))

    async def kill(self) -> None:
        """One is killed at some moment, and all were started before."""
        chance, found = self._chance, self._found
        killed = chance.choice(self._gateways)
        for gateway in self._gateways:
            if gateway.killed:
                gateway.start()
                if gateway is not killed:
                    await gateway.serves()
        if chance.random() < 0.05:
            await asyncio.sleep(chance.uniform(0, STARTING_S))
            found.idle += 1
        else:
            await killed.serves()
            aim = chance.choice([None, self._seen, self._upstream.said])
            await asyncio.sleep(chance.uniform(0, LOAD_S))
            if aim is not None:
                aim.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOAD_S):
                        await aim.wait()
                        found.aimed += 1
                await asyncio.sleep(chance.choice([0, chance.uniform(0, CLOSE_S)]))
        touched = {*self._under_way, *self._current.values()}
        killed.kill()
        found.kills += 1
        if not chance.randrange(LOOKS):
            await asyncio.sleep(0)  # what callers saw before it is in the ledger then
            await self._look({one.name for one in touched})
            killed.read_by_others()

    async def end(self) -> None:
        """One more question in each session that is not long over, then all that was kept."""
        gateway = self._gateways[0]
        gateway.start()
        await gateway.serves()
        one = Caller(self._ledger, self._chance, self._seen.set)
        for conversation in list(self._ledger.conversations.values())[-20:]:
            if not await one.go_on(conversation, gateway):
                self._ledger.faults.append(f"{conversation.name} could not go on at the end")
        if (status := gateway.stop()) != 0:
            self._ledger.faults.append(f"ended with status {status}")
        self._found.sessions = len(self._ledger.conversations)
        self._found.kept = await self._look(list(self._ledger.conversations))
        logs = (gateway.log.read_text(errors="replace") for gateway in self._gateways)
        self._ledger.faults += (f"logged: {line}" for log in logs for line in log.splitlines() if _is_trouble(line))
        self._ledger.faults += (f"set aside: {file.name}" for file in (self._folder / SESSIONS).glob("*damaged*"))
        self._found.faults = self._ledger.faults

    async def _look(self, names: Collection[str]) -> int:
        """How many turns the store has in sessions of *names*; what is wrong with them is in the ledger."""
        options = StoreOptions(
            clock=time.time,
            path=str(self._folder / SESSIONS),
            url=self._trial.redis or "",
            timeout_s=TIMEOUT_S,
            size_bytes=SIZE_MB << 20,
            session_bytes=16 << 20,
            waiters=64,
        )
        count = 0
        opens = Registry().build("store", "disk" if self._trial.redis is None else "redis")
        async with opens(options) as store:
            for name in names:
                session = self._ledger.conversations[name].session
                kept = None if session is None else await store.load("", session)
                turns = () if kept is None else kept.turns
                count += len(turns)
                self._ledger.check(name, turns)
        return count


def _is_trouble(line: str) -> bool:
    return " ERROR " in line or "CRITICAL" in line or "Traceback" in line
