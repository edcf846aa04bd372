"""Conversations that a gateway keeps: what a turn costs over the relay that carries the same whole history.

Each caller says its new message under its session's name; after so many turns the same is asked once more as a client
would without sessions, with all that was said before. Both in turns, a batch at a time, so that what slows the machine
slows both. Bytes are those of /proc/PID/io, less what went to sockets: for the kernel those are written too.
"""

from __future__ import annotations

import json
import random
import selectors
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from . import measure
from .figures import Figure

ASKED_BYTES = 980  # with the stub's answer a turn of 1 KiB
LENGTHS: Mapping[int, Figure] = {
    1: Figure.CPU_PER_TURN_1,
    8: Figure.CPU_PER_TURN_8,
    32: Figure.CPU_PER_TURN_32,
}
MODEL_PATH = "/v1/chat/completions"
READ_BYTES = 256 * 1024
PATIENCE_S = 30.0
PAGE_BYTES = 512  # of the disk store
PROSE = Path(__file__).parents[2] / "docs"

Message = Mapping[str, str]


class TalkFailed(Exception):
    """The message is what the target answered."""


@dataclass(frozen=True)
class Written:
    """Of a process, since it began: bytes that it gave to write(), and that a disk was to write, in pages."""

    calls: int
    disk: int

    @classmethod
    def by(cls, pids: Iterable[int]) -> Written:
        calls = disk = 0
        for pid in pids:
            said = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
            calls, disk = calls + int(said["wchar"]), disk + int(said["write_bytes"])
        return cls(calls, disk)


@dataclass(frozen=True)
class Cost:
    """Of one request, on average. *calls_bytes* are without those that its caller received."""

    cpu_us: float
    calls_bytes: float
    disk_bytes: float


class Callers:
    """Connections that stay open, with one request at a time on each."""

    def __init__(self, port: int, count: int, headers: Mapping[str, str], model: str) -> None:
        self._port = port
        self._headers = headers
        self._model = model
        self._open = [socket.create_connection(("127.0.0.1", port), PATIENCE_S) for _ in range(count)]
        for one in self._open:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received_bytes = 0

    def close(self) -> None:
        for one in self._open:
            one.close()

    def chat(self, messages: Sequence[Message], session: str | None = None) -> bytes:
        """A request, as bytes."""
        body = json.dumps({"model": self._model, "messages": messages}, separators=(",", ":")).encode()
        own = {} if session is None else {"x-moltbot-session": session}
        return self._head("POST", MODEL_PATH, {"Content-Type": "application/json", **own}, len(body)) + body

    def ask(self, requests: Iterable[bytes]) -> list[bytes]:
        """Their replies, in the order in which they came. Raises `TalkFailed`, and `OSError`."""
        left = iter(requests)
        replies: list[bytes] = []
        coming: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as selector:
            for one in self._open:
                if (request := next(left, None)) is not None:
                    one.sendall(request)
                    coming[one] = b""
                    selector.register(one, selectors.EVENT_READ, one)
            while coming:
                ready = selector.select(PATIENCE_S)
                if not ready:
                    raise TalkFailed(f"no answer within {PATIENCE_S:.0f} s")
                for key, _ in ready:
                    one = key.data
                    reply = coming[one] = coming[one] + self._received(one)
                    if not whole(reply):
                        continue
                    replies.append(reply)
                    if (request := next(left, None)) is not None:
                        coming[one] = b""
                        one.sendall(request)
                    else:
                        selector.unregister(one)
                        del coming[one]
        return replies

    def read(self, path: str) -> bytes:
        """A reply, on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE_S) as one:
            one.sendall(self._head("GET", path, {"Connection": "close"}, 0))
            reply = b""
            while data := one.recv(READ_BYTES):
                reply += data
        self.received_bytes += len(reply)
        if not reply.startswith(b"HTTP/1.1 200 "):
            raise TalkFailed(reply[:300].decode(errors="replace"))
        return reply

    def _received(self, one: socket.socket) -> bytes:
        data = one.recv(READ_BYTES)
        if not data:
            raise TalkFailed("it closed a connection")
        self.received_bytes += len(data)
        return data

    def _head(self, method: str, path: str, headers: Mapping[str, str], length: int) -> bytes:
        said = {"Host": f"127.0.0.1:{self._port}", **self._headers, **headers, "Content-Length": str(length)}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
        return "\r\n".join([*lines, "", ""]).encode()


def whole(reply: bytes) -> bool:
    """Whether all of it is there. Raises `TalkFailed` for what is no 200, or does not say how long it is."""
    head, found, body = reply.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            complete = len(body) >= int(line.split(b":")[1])
            if complete and not head.startswith(b"HTTP/1.1 200 "):
                raise TalkFailed(reply[:300].decode(errors="replace"))
            return complete
    raise TalkFailed(reply[:300].decode(errors="replace"))


def said(reply: bytes) -> Message:
    found: Message = json.loads(reply.partition(b"\r\n\r\n")[2])["choices"][0]["message"]
    return {"role": "assistant", "content": found["content"]}


@dataclass
class Talks:
    """*batches* of so many *sessions* at once, each as long as the longest of `LENGTHS`; then *alone*, one by one."""

    port: int
    headers: Mapping[str, str]
    model: str
    pids: Sequence[int]
    sessions: int
    batches: int
    connections: int
    alone: int
    _chance: random.Random = field(default_factory=lambda: random.Random(1))
    _prose: str = ""
    _batch: int = 0

    def costs(self) -> Iterator[tuple[Figure, float]]:
        """Raises `TalkFailed`, and `OSError`."""
        pages = (page.read_text(errors="replace") for page in sorted(PROSE.glob("*.md")))
        self._prose = " ".join(word for page in pages for word in page.split()).encode("ascii", "ignore").decode()
        callers = Callers(self.port, self.connections, self.headers, self.model)
        try:
            for _ in range(self.batches + 1):
                found = list(self._batch_of(callers, self.sessions, max(LENGTHS) + 1, LENGTHS))
                if self._batch > 1:  # the first one warms up: what keeps sessions is imported with it
                    for length, turn, relayed in found:
                        yield LENGTHS[length], turn.cpu_us - relayed.cpu_us
        finally:
            callers.close()
        yield from self._alone()

    def _alone(self) -> Iterator[tuple[Figure, float]]:
        """With nobody beside it, each turn is a commit of its own: the most that one writes."""
        caller = Callers(self.port, 1, self.headers, self.model)
        try:
            cpu_us, calls_bytes, disk_bytes = [], [], []
            for _, turn, relayed in self._batch_of(caller, self.sessions, self.alone, range(1, self.alone)):
                cpu_us.append(turn.cpu_us - relayed.cpu_us)
                calls_bytes.append(turn.calls_bytes - relayed.calls_bytes)
                disk_bytes.append(turn.disk_bytes)
            yield Figure.CPU_PER_TURN_ALONE, fmean(cpu_us)
            yield Figure.BYTES_PER_TURN, fmean(calls_bytes)
            yield Figure.DISK_BYTES_PER_TURN, fmean(disk_bytes)
            for place in range(self.sessions):
                read = self._cost(caller, [], [f"/v1/sessions/{self._name(place)}"])
                # A thread is woken by eight bytes, which are written too. The smallest that a store writes is a page.
                yield Figure.BYTES_PER_READ, max(read.calls_bytes // PAGE_BYTES * PAGE_BYTES, read.disk_bytes)
        finally:
            caller.close()

    def _batch_of(
        self, callers: Callers, sessions: int, turns: int, measured: Iterable[int]
    ) -> Iterator[tuple[int, Cost, Cost]]:
        """So many *turns* in each of *sessions*; where so many stand before as are *measured*, their cost, and the
        relay's."""
        self._batch += 1
        talks: list[list[Message]] = [[] for _ in range(sessions)]
        answer: Message | None = None
        for before in range(turns):
            asked = [self._asked() for _ in talks]
            news = [callers.chat([one], self._name(place)) for place, one in enumerate(asked)]
            if before in measured and answer is not None:
                wholes = [callers.chat([*talk, one]) for talk, one in zip(talks, asked, strict=True)]
                if (self._batch + before) % 2:
                    relayed, turn = self._cost(callers, wholes), self._cost(callers, news)
                else:
                    turn, relayed = self._cost(callers, news), self._cost(callers, wholes)
                yield before, turn, relayed
            else:
                answer = said(callers.ask(news)[0])
            for talk, one in zip(talks, asked, strict=True):
                talk += one, answer or {}

    def _cost(self, callers: Callers, requests: Sequence[bytes], reads: Sequence[str] = ()) -> Cost:
        written, received = Written.by(self.pids), callers.received_bytes
        cpu_us = measure.cpu_us(list(self.pids))
        callers.ask(requests)
        for path in reads:
            callers.read(path)
        count = len(requests) + len(reads)
        cpu_us, after = measure.cpu_us(list(self.pids)) - cpu_us, Written.by(self.pids)
        calls = after.calls - written.calls - (callers.received_bytes - received)
        return Cost(cpu_us / count, calls / count, (after.disk - written.disk) / count)

    def _asked(self) -> Message:
        at = self._chance.randrange(len(self._prose) - ASKED_BYTES)
        return {"role": "user", "content": self._prose[at : at + ASKED_BYTES]}

    def _name(self, place: int) -> str:
        return f"bench-{self._batch}-{place}"
