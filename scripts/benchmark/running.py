"""One target while it is measured: its process, what was seen so far, and its row at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

from . import measure, processes
from .figures import Figure, Measured
from .load import Load, Posts
from .parts import Part
from .processes import Child, NotStarted
from .targets import MODEL, Place, Target

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
START_LIMIT_S = 90.0  # LiteLLM takes half a minute on a desktop's core
EXPECTED = ("200", "503", "failed")  # answers to a crowd: served, refused for now, none


@dataclass(frozen=True)
class Turn:
    """What one round found out about one address; CPU time is the target's, in microseconds, over the whole load."""

    many: Load
    many_cpu_us: float
    one: Load
    streams: Load
    streams_cpu_us: float
    translated: Load | None = None
    translated_cpu_us: float = 0.0


class Running:
    def __init__(self, target: Target, part: Part, place: Place) -> None:
        self.name = target.name
        self.port = place.port
        self.keeps = target.keeps
        self.url = f"http://127.0.0.1:{place.port}{CHAT}"
        self.translated_url = f"http://127.0.0.1:{place.port}{MESSAGES}" if target.translates else None
        self.headers = {"Authorization": f"Bearer {place.secret}", **target.headers(place)}
        self._target, self._part, self._place = target, part, place
        self._child: Child | None = None
        self._samples: dict[Figure, list[float | None]] = {}
        self._answers: dict[str, int] = {}
        self._failures: dict[str, tuple[int, str]] = {}  # of each kind of load: how many, and the first
        self._troubles: list[str] = []
        if part.size_bytes is not None:
            self._add(Figure.BINARY, part.size_bytes)

    def start(self, core: int) -> float:
        """Seconds to the first 200."""
        launch = self._target.launch(self._part, self._place)
        self._child = Child(launch.command, core, self._place.folder / "log", launch.env)
        took_s = processes.seconds_to_first_200(self._child, self._place.port, self._target.health, START_LIMIT_S)
        self._add(Figure.START, took_s * 1e3)
        return took_s

    def end(self) -> None:
        if self._child is not None:
            self._child.end()

    def pids(self) -> list[int]:
        return measure.tree(self._child.pid) if self._child is not None else []

    def wait_until_it_relays(self) -> None:
        """A gateway may be healthy before it knows its upstream."""
        body = f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"hello"}}]}}'
        answer, until = "", time.monotonic() + START_LIMIT_S
        while time.monotonic() < until:
            connection = HTTPConnection("127.0.0.1", self._place.port, timeout=30)
            try:
                connection.request("POST", CHAT, body, {"Content-Type": "application/json", **self.headers})
                reply = connection.getresponse()
                if reply.status == 200:
                    return
                answer = f"{reply.status} {reply.read(200).decode(errors='replace').strip()}"
                if reply.status in (400, 401, 403):  # no waiting will cure it
                    break
            except (OSError, HTTPException) as error:
                answer = str(error)
            finally:
                connection.close()
            time.sleep(0.05)
        raise NotStarted(f"does not relay: {answer}")

    def idle(self, memory: measure.Memory) -> None:
        self._add(Figure.IDLE_RSS, memory.rss_bytes)
        self._add(Figure.IDLE_PSS, memory.pss_bytes)
        self._add(Figure.IDLE_ANONYMOUS, memory.anonymous_bytes)

    def turn(self, turn: Turn, bare: Turn) -> None:
        """*bare* is the same round's turn of the stub itself."""
        many, one, streams = turn.many, turn.one, turn.streams
        self._add(Figure.CPU_PER_REQUEST, turn.many_cpu_us / many.requests if many.requests else None)
        self._add(Figure.RATE, many.requests / many.seconds if many.requests else None)
        self._add(Figure.BUSY, turn.many_cpu_us / 1e6 / many.seconds)
        self._add(Figure.ADDED_P50, one.p50_us - bare.one.p50_us if one.requests else None)
        self._add(Figure.ADDED_P99, one.p99_us - bare.one.p99_us if one.requests else None)
        self._add(Figure.CPU_PER_EVENT, turn.streams_cpu_us / streams.events if streams.events else None)
        self._add(Figure.FIRST_EVENT, streams.first_event_p50_us / 1e3 if streams.events else None)
        seen_doing = [(many, "many callers"), (one, "one caller"), (streams, "streams")]
        if turn.translated is not None:
            events = turn.translated.events
            self._add(Figure.CPU_PER_TRANSLATED, turn.translated_cpu_us / events if events else None)
            seen_doing.append((turn.translated, "translated streams"))
        for seen, doing in seen_doing:
            self._note(doing, seen.failed, seen.first_failure)

    def posts(self, posts: Posts, peak_bytes: int) -> None:
        self._add(Figure.PEAK_RSS, peak_bytes)
        self._answers.update(posts.answers)
        self._note("posts", posts.answers.get("failed", 0), posts.first_failure)
        others = {status: clients for status, clients in posts.answers.items() if status not in EXPECTED}
        if others:
            told = ", ".join(f"{clients:,} with {status}" for status, clients in sorted(others.items()))
            self._troubles.append(f"posts answered otherwise: {told}")

    def talked(self, figure: Figure, value: float) -> None:
        self._add(figure, value)

    def trouble(self, what: str) -> None:
        self._troubles.append(" ".join(what.split()))

    def row(self) -> Measured:
        samples = {figure: tuple(values) for figure, values in self._samples.items()}
        failures = (
            f"{doing}: {failed:,} failed, the first: {first}" for doing, (failed, first) in self._failures.items()
        )
        troubles = (*failures, *self._troubles)
        return Measured(self.name, self._part.version, samples, dict(self._answers), troubles)

    def _add(self, figure: Figure, value: float | None) -> None:
        self._samples.setdefault(figure, []).append(value)

    def _note(self, doing: str, failed: int, first_failure: str) -> None:
        if failed:
            before, first = self._failures.get(doing, (0, " ".join(first_failure.split())[:160]))
            self._failures[doing] = before + failed, first
        if self._child is not None and not self._child.alive:
            trouble = f"it ended: {self._child.last_line()}"
            if trouble not in self._troubles:
                self._troubles.append(trouble)
