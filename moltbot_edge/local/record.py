"""What the owner of the engines knows of one: its life, who waits and who is served, and what it costs. No effects."""

from __future__ import annotations

import asyncio
import math

import msgspec

from moltbot_edge.local.health import Suspicion
from moltbot_edge.local.launch import EngineModel, Survey
from moltbot_edge.local.leases import Tenant
from moltbot_edge.local.lifecycle import Engine, State
from moltbot_edge.local.memory import Share
from moltbot_edge.local.placement import Running, Stage, Wanted
from moltbot_edge.local.process import Child

MIB = 1024 * 1024
FORGET_S = 600.0  # an arrival counts half after seven minutes
SOON_S = 60.0  # what "use soon" means: about as long as a person reads and writes
LOAD_BYTES_S = 100e6  # as an SD card in a Pi 5 reads, until a load has been seen
PREFILL_TOKENS_S = 50.0  # of 1B on a Pi 5, until a reply has told
LEARNING = 0.3  # the newest of what is learned counts so much
MARGIN = 1.05  # what engines take may be so much more than was given before one of them is ended
SPARE = 1.02  # what was measured may be a page or two more next time

_STAGES = {
    State.STARTING: Stage.COMING,
    State.LOADING: Stage.COMING,
    State.READY: Stage.HERE,
    State.DRAINING: Stage.GOING,
    State.STOPPING: Stage.GOING,
}


class Demand(msgspec.Struct):
    """How often a model is asked for: arrivals, of which the older count less."""

    weight: float = 0.0
    at: float = 0.0

    def heard(self, now: float) -> None:
        self.weight = self._decayed(now) + 1.0
        self.at = now

    def soon(self, now: float) -> float:
        """How likely somebody asks within `SOON_S`."""
        return 1.0 - math.exp(-self._decayed(now) / FORGET_S * SOON_S)

    def _decayed(self, now: float) -> float:
        return self.weight * math.exp(-max(now - self.at, 0.0) / FORGET_S)


class Returning(msgspec.Struct, frozen=True):
    """Memory of a process that has ended, until the machine has it back: by *until*, or once *available* is reached."""

    bytes: int
    available: int
    until: float


class Record:
    """Touched by the owner alone. Times are monotonic, *share* is what was measured last of the run at hand."""

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
        self.leavers: list[asyncio.Future[None]] = []

        self.waiting: dict[Tenant, None] = {}  # in the order of their coming; as many as requests are let in
        self.leased: set[Tenant] = set()
        self.demand = Demand()
        self.idle_since = 0.0
        self.closed_at = 0.0
        self.keep_s: float | None = None  # as a caller wished last
        self.rest_timer: asyncio.TimerHandle | None = None
        self.resting: asyncio.Task[None] | None = None  # what a keeper does with it while it is idle
        self.line: asyncio.Task[None] | None = None  # looks after those who wait for a slot of it
        self.suspicion: Suspicion | None = None
        self.suspect: asyncio.Task[None] | None = None

        self.survey: Survey | None = None
        self.surveying = False
        self.surveyed = False  # since it ran last: its file may be another one
        self.share = Share()
        self.peak_bytes = 0  # of this run
        self.served = 0  # by this run
        self.learned_bytes: int | None = None
        self.learned_of: Survey | None = None
        self.returning: Returning | None = None
        self.available_before = 0

        self.load_s: float | None = None
        self.prefill_rate: float | None = None
        self.held_tokens = 0

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def slots(self) -> int | None:
        """Requests that it answers at the same time: more would wait in it, where nobody could place them."""
        return self.survey.launch.slots if self.survey is not None else None

    @property
    def runs(self) -> bool:
        return self.engine.state in _STAGES

    @property
    def weights_bytes(self) -> int:
        return self.survey.weights_bytes if self.survey is not None else 0

    def need_bytes(self) -> int:
        """What it will take: as the user says, as it was seen to, or as predicted."""
        return self.learned_bytes if self.learned_bytes is not None else self.predicted_bytes()

    def predicted_bytes(self) -> int:
        """Before anything was learned."""
        if self.model.memory_bytes is not None:
            return self.model.memory_bytes
        return self.survey.footprint.total if self.survey is not None else 0

    def held_bytes(self) -> int:
        return max(self.need_bytes(), self.share.pss)

    def looked_at(self, survey: Survey | None) -> None:
        """What was learned of another file, or with other flags, is forgotten. None: nothing is to be seen."""
        self.survey = survey or Survey.unknown()
        if survey is not None and survey != self.learned_of:
            self.learned_of, self.learned_bytes, self.load_s = survey, None, None

    def measured(self, share: Share, learns_down: bool) -> None:
        """What it takes now. Once it has answered, what it took at most is what is expected of it: with its weights,
        though another engine of the same file may have mapped them too. That one may go.

        *learns_down* False: its memory is in part no process's, so a measurement can only say that it takes more.
        """
        self.share = share
        self.peak_bytes = max(self.peak_bytes, share.pss + min(share.others, self.weights_bytes))
        most = int(self.peak_bytes * SPARE)
        if most > self.need_bytes() or (self.served and learns_down):
            self.learned_bytes = most

    def loaded(self, now: float) -> None:
        seconds = now - self.began
        self.load_s = seconds if self.load_s is None else self.load_s + LEARNING * (seconds - self.load_s)

    def told(self, tenant: Tenant) -> None:
        """A whole reply: what its engine holds now, and how fast it reads."""
        self.served += 1
        if tenant.usage is not None:
            self.held_tokens = tenant.usage.input_tokens + tenant.usage.output_tokens
        rate = tenant.timings.prefill_rate if tenant.timings is not None else 0.0
        if rate > 0:
            self.prefill_rate = (
                rate if self.prefill_rate is None else rate * LEARNING + self.prefill_rate * (1 - LEARNING)
            )

    def expected_load_s(self) -> float:
        """As it was seen to take, or by its size."""
        return self.load_s if self.load_s is not None else self.weights_bytes / LOAD_BYTES_S

    def return_cost_s(self, now: float) -> float:
        """Expected seconds, if it went now: how likely it is wanted soon, times what it takes to be as it is."""
        return self.demand.soon(now) * (
            self.expected_load_s() + self.held_tokens / (self.prefill_rate or PREFILL_TOKENS_S)
        )

    def running(self, now: float, ttl_s: float | None, limit_bytes: int) -> list[Running]:
        """As placement sees it; nothing while it takes nothing."""
        stage = _STAGES.get(self.engine.state)
        if stage is None:
            return [] if self.returning is None else [Running(self.name, self.returning.bytes, Stage.GOING)]
        return [
            Running(
                self.name,
                tolerated(self.held_bytes(), limit_bytes),
                stage,
                len(self.leased),
                self.model.pin,
                self.engine.ready_at,
                self.idle_since,
                self._stays_s(ttl_s),
                self.return_cost_s(now),
            )
        ]

    def _stays_s(self, ttl_s: float | None) -> float | None:
        """Without a request: as a caller wished, or the user for this model, or for all."""
        if self.keep_s is not None:
            return self.keep_s if self.keep_s >= 0 else None
        return self.model.ttl_s if self.model.ttl_s is not None else ttl_s

    def wanted(self, limit_bytes: int) -> Wanted | None:
        """As placement sees it; None where it is not to be placed, or not yet known."""
        if self.engine.state is not State.STOPPED or not self.engine.wanted or self.surveying or self.survey is None:
            return None
        # Who stood in its line had an engine: for a place among the models they wait since it closed. Else it would be
        # back at once, for those who are older than the one for whom it went.
        since = max(next((tenant.since for tenant in self.waiting), 0.0), self.closed_at)
        return Wanted(self.name, tolerated(self.need_bytes(), limit_bytes), len(self.waiting), since)


def tolerated(size: int, limit_bytes: int) -> int:
    """*size*, or the whole budget where it is hardly more: it fits alone, as none would be ended for it."""
    return limit_bytes if limit_bytes < size <= limit_bytes * MARGIN else size
