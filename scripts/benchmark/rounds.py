"""One run: every target started, measured in turns (A B C, A B C), ended.

In turns, because a machine warms up, throttles and gets other work while a benchmark runs: what slows one round slows
all targets in it, and the table compares within rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from . import measure, processes
from .figures import Absent, Direct, Row
from .load import CONNECTIONS, GAP_S, STREAMS, Loader
from .parts import Part
from .processes import Child, NotStarted
from .running import CHAT, START_LIMIT_S, Running, Turn
from .talks import TalkFailed, Talks
from .targets import MODEL, Place, Target

SETTLE_S = 2.0  # after the last start, before memory is read
LATENCY_LEAST = 200  # a p99 of fewer is nearly their maximum; a slow target gets more time for it
EVENTS = 100  # words in a stream
POST_BYTES = 150_000
SESSIONS = 64  # that go on at one time
TURNS_ALONE = 48  # in each, of one caller: more than are in the store's log before it is written to its place
ANSWER_DELAY_S = 0.2  # of the stub, to a large body: long enough that all clients' bodies are there together


@dataclass(frozen=True)
class Plan:
    """How much of it. The times are for one target in one round."""

    rounds: int = 5
    starts: int = 5
    starts_within_s: float = 15.0  # for one target: one that starts slowly is not started five times
    relay_s: float = 2.0
    latency_s: float = 1.5
    stream_s: float = 2.0
    clients: int = 1500
    talk_batches: int = 12

    @classmethod
    def quick(cls) -> Plan:
        return cls(rounds=4, relay_s=0.5, latency_s=0.3, stream_s=1.0, talk_batches=4)

    @classmethod
    def of_forms(cls) -> Plan:
        """A form shows in its starts. The smallest of twenty is what the machine can do when nobody disturbs it."""
        return cls(rounds=5, starts=20, starts_within_s=120.0, relay_s=1.0, latency_s=0.3, stream_s=1.0)


@dataclass(frozen=True)
class Bench:
    """*folder* is for the targets' files, and the caller's to delete. *secret* is what callers of a target send."""

    plan: Plan
    cores: measure.Cores
    loadgen: Path
    folder: Path
    secret: str
    say: Callable[[str], None]

    def run(self, brought: Sequence[tuple[Target, Part]]) -> tuple[list[Row], Direct]:
        """A row for each, in their order. All children have ended when this returns or raises."""
        with measure.pinned(self.cores.load), self._stub() as stub_port, ExitStack() as ends:
            everyone = [Running(target, part, self._place(target.name, stub_port)) for target, part in brought]
            for running in everyone:
                ends.callback(running.end)
            absent = self._starts(everyone)
            present = [running for running in everyone if running.name not in absent]
            self._idle(present)
            stub_url = f"http://127.0.0.1:{stub_port}{CHAT}"
            bare = [self._round(number, stub_url, present) for number in range(1, self.plan.rounds + 1)]
            for running in present:
                self.say(f"{running.name}: {self.plan.clients:,} clients post at once")
                self._posts(running)
            for running in present:
                if running.keeps:
                    self._talks(running)
            return [absent.get(running.name) or running.row() for running in everyone], _direct(bare)

    @contextmanager
    def _stub(self) -> Iterator[int]:
        port = processes.free_port()
        address = ["-address", f"127.0.0.1:{port}"]
        pace = ["-events", str(EVENTS), "-gap", f"{GAP_S}s", "-delay", f"{ANSWER_DELAY_S}s"]
        stub = Child([self.loadgen, "stub", *address, *pace], self.cores.stub, self.folder / "stub.log")
        try:
            processes.seconds_to_first_200(stub, port, "/health", START_LIMIT_S)
            yield port
        finally:
            stub.end()

    def _place(self, name: str, stub_port: int) -> Place:
        folder = self.folder / name
        folder.mkdir()
        return Place(folder, processes.free_port(), processes.free_port(), stub_port, self.secret)

    def _starts(self, everyone: Sequence[Running]) -> dict[str, Absent]:
        """Each is started as often as planned, and the last time stays up. Returns those that could not be."""
        absent: dict[str, Absent] = {}
        up: set[str] = set()
        spent_s = dict.fromkeys((running.name for running in everyone), 0.0)
        for number in range(1, self.plan.starts + 1):
            for running in everyone:
                if running.name in absent or running.name in up:
                    continue
                self.say(f"{running.name}: start {number} of {self.plan.starts}")
                try:
                    took_s = running.start(self.cores.target)
                    spent_s[running.name] += took_s
                    if number < self.plan.starts and spent_s[running.name] + took_s < self.plan.starts_within_s:
                        running.end()
                    else:
                        running.wait_until_it_relays()
                        up.add(running.name)
                except NotStarted as reason:
                    running.end()
                    absent[running.name] = Absent(running.name, str(reason))
        return absent

    def _idle(self, present: Sequence[Running]) -> None:
        self.say(f"all idle for {SETTLE_S:.0f} s")
        time.sleep(SETTLE_S)
        for running in present:
            running.idle(measure.memory(running.pids()))

    def _round(self, number: int, stub_url: str, present: Sequence[Running]) -> Turn:
        """The stub's own turn."""
        which = f"round {number} of {self.plan.rounds}"
        bare = self._turn(f"{which}, the stub itself", stub_url, None, {}, [])
        for running in present:
            urls = running.url, running.translated_url
            turn = self._turn(f"{which}, {running.name}", *urls, running.headers, running.pids())
            running.turn(turn, bare)
        return bare

    def _turn(self, whose: str, url: str, translated_url: str | None, headers: dict[str, str], pids: list[int]) -> Turn:
        plan, loader = self.plan, Loader(self.loadgen, self.cores.load, url, headers)
        self.say(f"{whose}: {CONNECTIONS} callers")
        # Warm: connections to the stub are open, and what compiles or learns while it runs has done so.
        loader.whole(connections=CONNECTIONS, seconds=plan.relay_s / 5)
        before_us = measure.cpu_us(pids)
        many = loader.whole(connections=CONNECTIONS, seconds=plan.relay_s)
        many_cpu_us = measure.cpu_us(pids) - before_us
        self.say(f"{whose}: one caller")
        one = loader.whole(connections=1, seconds=plan.latency_s, least=LATENCY_LEAST)
        self.say(f"{whose}: {STREAMS} streams")
        before_us = measure.cpu_us(pids)
        streams = loader.streams(seconds=plan.stream_s)
        streams_cpu_us = measure.cpu_us(pids) - before_us
        if translated_url is None:
            return Turn(many, many_cpu_us, one, streams, streams_cpu_us)
        self.say(f"{whose}: {STREAMS} translated streams")
        loader = Loader(self.loadgen, self.cores.load, translated_url, headers)
        loader.streams(seconds=plan.stream_s / 5, messages=True)  # what translates is imported at its first use
        before_us = measure.cpu_us(pids)
        translated = loader.streams(seconds=plan.stream_s, messages=True)
        return Turn(many, many_cpu_us, one, streams, streams_cpu_us, translated, measure.cpu_us(pids) - before_us)

    def _posts(self, running: Running) -> None:
        pids = running.pids()
        measure.reset_peak(pids)
        sampled = [measure.resident_bytes(pids)]
        posts = Loader(self.loadgen, self.cores.load, running.url, running.headers).posts(
            clients=self.plan.clients,
            size_bytes=POST_BYTES,
            sample=lambda: sampled.append(measure.resident_bytes(pids)),
        )
        # One process's own high-water mark misses nothing between samples; those of several need not have met.
        peak_bytes = measure.resident_bytes(pids, "VmHWM:") if len(pids) == 1 else 0
        running.posts(posts, max(peak_bytes, *sampled))

    def _talks(self, running: Running) -> None:
        self.say(f"{running.name}: {SESSIONS} conversations go on")
        talks = Talks(
            running.port,
            running.headers,
            MODEL,
            running.pids(),
            sessions=SESSIONS,
            batches=self.plan.talk_batches,
            connections=CONNECTIONS,
            alone=TURNS_ALONE,
        )
        try:
            for figure, value in talks.costs():
                running.talked(figure, value)
        except (TalkFailed, OSError) as failure:
            running.trouble(f"conversations: {failure}")


def _direct(turns: Sequence[Turn]) -> Direct:
    return Direct(
        rate=median(turn.many.requests / turn.many.seconds for turn in turns),
        p50_us=median(turn.one.p50_us for turn in turns),
        p99_us=median(turn.one.p99_us for turn in turns),
        first_event_p50_ms=median(turn.streams.first_event_p50_us for turn in turns) / 1e3,
    )
