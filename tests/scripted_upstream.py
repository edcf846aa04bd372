"""An upstream that does exactly what a test's script says, on a real socket, and remembers what it was asked.

A script is called once for each request. With several, each request gets the next; the last one stays.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Literal, cast

import msgspec

SEND_BUFFER_BYTES = 32 * 1024  # of the kernel, so that what cannot be sent is noticed here
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"

Script = Callable[["Visit"], Awaitable[None]]
Framing = Literal["length", "chunked", "close"]
Ending = Literal["keep", "close", "reset", "hang"]


class Asked(msgspec.Struct, frozen=True):
    """One request as it came; names of headers in lower case."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found == name), None)


class Visit(asyncio.Protocol):
    """One connection of the gateway's."""

    def __init__(self, upstream: Upstream) -> None:
        self.gone = asyncio.Event()  # either side has closed
        self.sent_bytes = 0
        self.transport: asyncio.Transport
        self._upstream = upstream
        self._received = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=1)
        self._upstream.visits.append(self)
        self._upstream.most_open = max(self._upstream.most_open, self._upstream.open_visits)
        self._upstream.begin(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def request(self) -> Asked | None:
        """The next whole request; None once the connection is closed."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if not await self._more():
                return None
        first, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        whole = end + 4 + next((int(value) for name, value in headers if name == "content-length"), 0)
        while len(self._received) < whole:
            if not await self._more():
                return None
        body = bytes(self._received[end + 4 : whole])
        del self._received[:whole]
        method, path, _ = first.split(" ")
        return Asked(method, path, headers, body)

    @property
    def asked(self) -> Asked:
        """The request that is being answered, where one is asked at a time."""
        return self._upstream.asked[-1]

    async def send(self, *pieces: bytes, gap_s: float = 0) -> None:
        """Each piece leaves by itself: the other end of this event loop reads it before the next is written."""
        for piece in pieces:
            if self.gone.is_set():
                return
            self.transport.write(piece)
            self.sent_bytes += len(piece)
            await self._writable.wait()
            for _ in range(3):
                await asyncio.sleep(0)
            if gap_s:
                await asyncio.sleep(gap_s)

    async def end(self, how: Ending) -> None:
        if how == "hang":
            await self.gone.wait()
        elif how == "close":
            self.transport.close()
        elif how == "reset":
            await asyncio.sleep(0.02)  # a reset overtakes what the other end has not read yet
            if not self.gone.is_set():
                sock = self.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.transport.abort()

    async def _more(self) -> bool:
        self._news.clear()
        if not self.gone.is_set():
            await self._news.wait()
        return not self.gone.is_set()


class Upstream:
    """*asked* are the requests so far, *visits* the connections. *probed* are what asks only whether it is there."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        self.asked: list[Asked] = []
        self.probed: list[Asked] = []
        self.on_probe = answers(200, b"{}")
        self.visits: list[Visit] = []
        self.most_open = 0  # connections at once
        self.port = 0
        self.scheme = "http"
        self._scripts = deque(scripts)
        self._tasks: list[asyncio.Task[None]] = []
        self._was_asked = asyncio.Event()

    def play(self, *scripts: Script) -> None:
        """From now on these, in place of those before."""
        self._scripts = deque(scripts)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def open_visits(self) -> int:
        return sum(not visit.gone.is_set() for visit in self.visits)

    async def was_asked(self, times: int = 1) -> Asked:
        """The last of so many requests, once they are here."""
        while len(self.asked) < times:
            self._was_asked.clear()
            await self._was_asked.wait()
        return self.asked[-1]

    async def was_left(self) -> None:
        """Once every connection so far is closed; within a second, or it is a failure."""
        async with asyncio.timeout(1):
            for visit in self.visits:
                await visit.gone.wait()

    def begin(self, visit: Visit) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._serve(visit)))

    async def _serve(self, visit: Visit) -> None:
        while (asked := await visit.request()) is not None:
            if asked.method == "GET":
                self.probed.append(asked)
                await self.on_probe(visit)
                continue
            self.asked.append(asked)
            self._was_asked.set()
            script = self._scripts.popleft() if len(self._scripts) > 1 else self._scripts[0]
            await script(visit)

    async def end(self) -> None:
        for visit in self.visits:
            visit.transport.abort()
        for task in self._tasks:
            task.cancel()
        for task, outcome in zip(self._tasks, await asyncio.gather(*self._tasks, return_exceptions=True), strict=True):
            if isinstance(outcome, Exception):
                raise AssertionError(f"a script failed: {task}") from outcome


@asynccontextmanager
async def upstream(*scripts: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    served = Upstream(scripts)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.bind(("127.0.0.1", 0))
        served.port = sock.getsockname()[1]
        served.scheme = "https" if tls else "http"
        server = await asyncio.get_running_loop().create_server(lambda: Visit(served), sock=sock, ssl=tls)
        try:
            yield served
        finally:
            server.close()
            await served.end()
            await server.wait_closed()


# Places where nobody serves.


@contextmanager
def refusing() -> Iterator[str]:
    """The URL of a port that refuses connections, and that nobody else can get meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def never_accepting() -> Iterator[str]:
    """The URL of a port whose line is full: a connection to it neither succeeds nor fails."""
    with socket.socket() as sock, socket.socket() as first, socket.socket() as second:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


# Scripts.


def answers(
    status: int,
    body: bytes | str = b"",
    *headers: str,
    kind: str = "application/json",
    framing: Framing = "length",
    then: Ending = "keep",
) -> Script:
    data = body.encode() if isinstance(body, str) else body

    async def script(visit: Visit) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", *headers]
        if framing == "length":
            lines.append(f"Content-Length: {len(data)}")
        elif framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        head = "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"
        await visit.send(head + (chunk(data) + chunk(b"") if framing == "chunked" else data))
        await visit.end("close" if framing == "close" else then)

    return script


def completion(text: str = "hi") -> bytes:
    """A whole reply of a chat model."""
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "their-name",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }
    ).encode()


def says(text: str = "hi") -> Script:
    return answers(200, completion(text))


def delta(text: str) -> bytes:
    """An event of a chat model's stream."""
    said = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "their-name",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def streams(
    pieces: Iterable[bytes], *, gap_s: float = 0, framing: Framing = "chunked", then: Ending = "keep"
) -> Script:
    """Each of *pieces* in a packet of its own, and in a chunk of its own where there are chunks; then the end."""

    async def script(visit: Visit) -> None:
        if framing == "chunked":
            await visit.send(STREAM_HEAD)
            await visit.send(*map(chunk, pieces), gap_s=gap_s)
            await visit.send(chunk(b""))
        else:
            await visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            await visit.send(*pieces, gap_s=gap_s)
        await visit.end("close" if framing == "close" else then)

    return script


def raw(*pieces: bytes, gap_s: float = 0, then: Ending = "close") -> Script:
    """These very bytes, head included, each piece by itself."""

    async def script(visit: Visit) -> None:
        await visit.send(*pieces, gap_s=gap_s)
        await visit.end(then)

    return script


def hangs() -> Script:
    return raw(then="hang")


def half_closed() -> Script:
    """It says that it will send nothing more, and goes on to read."""

    async def script(visit: Visit) -> None:
        visit.transport.write_eof()
        await visit.end("hang")

    return script


def chunk(data: bytes) -> bytes:
    """*data* as a chunk; nothing, as the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)
