"""HTTP/1.1 on the event loop: the chat path's own client, one connection of it. Not a general one: no redirects,
cookies, proxies or compression.

A reply's body is *pumped*: each piece goes to a sink from within the read that brought it, so an event of a
stream costs no task switch. The sink's False pauses the socket: back-pressure goes upstream.

Source: RFC 9112, section 6 (message framing).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import httptools
import msgspec

from moltbot_edge.core.errors import ClosedUnanswered, InvalidReply, TruncatedReply, UpstreamError, UpstreamTimeout
from moltbot_edge.core.head import Body
from moltbot_edge.upstream.ticker import TICK_S

MAX_HEAD_BYTES = 64 * 1024  # four times what h11 and IIS allow: clouds send long policy headers
HELD_BYTES = 64 * 1024  # of a body that nobody pumps; uvloop reads at most 256 KiB at once
KEEP_ALIVE_IDLE_S, KEEP_ALIVE_EVERY_S, KEEP_ALIVE_PROBES = 30, 10, 3  # a box without power is noticed in a minute

# What says where a body ends (RFC 9112, 6). A reply with neither ends with its connection.
FRAMING = frozenset({b"content-length", b"transfer-encoding"})

Sink = Callable[[bytes], bool]
"""Takes a piece of a body; False: no more until the next pump. Must not raise."""


class WireLimits(msgspec.Struct, frozen=True):
    """Defaults and their reasons are in `config.schema.Limits`."""

    connections: int
    idle_connections: int
    idle_connection_s: float
    queue: int
    queue_s: float
    connect_s: float
    first_byte_s: float
    between_bytes_s: float
    total_s: float


class Address(msgspec.Struct, frozen=True):
    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Keeper(Protocol):
    """Whoever keeps connections: `upstream.pool.Pool`."""

    name: str
    limits: WireLimits

    def release(self, reply: Reply) -> None: ...

    def lost(self, reply: Reply) -> None: ...


class Reply(asyncio.Protocol):
    """One connection, and the reply that is on it now.

    *headers* have lower-case names; *status* is 0 until they are complete.

    Whoever got it from `Pool.send` must `close` it, whatever happened: that frees the connection.
    """

    def __init__(self, pool: Keeper) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Sink | None = None
        self._chunks: list[bytes] = []
        self.on_body = self._chunks.append  # httptools' callback without a Python frame
        self._parser = httptools.HttpResponseParser(self)
        self._lost = False
        self.served = 0  # requests this connection has answered
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._busy = False
        self._head_bytes = 0
        self._head_done = False
        self._complete = False
        self._framed = False
        self._until_eof = False
        self._keep_alive = False
        self._paused = False
        self.error: UpstreamError | None = None
        self._silent_s = 0.0
        self._busy_s = 0.0

    # What the pool calls.

    def begin(self, pieces: Sequence[Body]) -> asyncio.Future[None]:
        """Send a request, head and body in one write. Done once the reply's head is here, or `error` says why not."""
        self._reset()
        self._busy = True
        woken = self._waiting()
        if self._transport is None or not self.usable:  # it ended while it was handed over
            self.error = ClosedUnanswered(f"{self._pool.name} closed the connection")
            self._wake()
            return woken
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)
        return woken

    @property
    def usable(self) -> bool:
        return not self._lost and self._transport is not None and not self._transport.is_closing()

    @property
    def reusable(self) -> bool:
        return (
            self._complete
            and self.error is None
            and not self._until_eof
            and self.usable
            and self._keep_alive
            and not self._chunks
            and self._unsent == 0
        )

    @property
    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What the relay calls.

    async def pump(self, sink: Sink) -> bool:
        """Give every piece of the body to *sink*; True once all has come, False when the sink said stop.

        Raises `TruncatedReply`, `InvalidReply` or `UpstreamTimeout`, after the sink got what did come.
        """
        while True:
            if self._chunks and not sink(self._taken()):
                return False
            if self._complete:
                return True
            if self.error is not None:
                raise self.error
            self._resume()
            self._sink = sink
            try:
                await self._waiting()
            finally:
                self._sink = None
            if self._paused:
                return False

    async def read(self, limit_bytes: int) -> bytes:
        """The body as one value, at most its first *limit_bytes*. For errors, which are small."""
        pieces: list[bytes] = []
        room = limit_bytes

        def keep(data: bytes) -> bool:
            nonlocal room
            pieces.append(data[:room])
            room -= len(pieces[-1])
            return room > 0

        await self.pump(keep)
        return b"".join(pieces)

    def whole(self) -> bytes | None:
        """The body, where all of it has come already."""
        if not self._complete or self.error is not None:
            return None
        return self._taken()

    def close(self) -> None:
        """Give the connection back: kept where the reply was read to its end, else closed at once, which is
        what makes an engine stop generating."""
        self._pool.release(self)

    @property
    def upstream(self) -> str:
        return self._pool.name

    def header(self, name: bytes) -> bytes | None:
        """*name* in lower case."""
        for found, value in self.headers:
            if found == name:
                return value
        return None

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has its members, and is no subclass
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_IDLE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_ALIVE_EVERY_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEP_ALIVE_PROBES)

    def data_received(self, data: bytes) -> None:
        self._silent_s = 0.0
        if not self._head_done or self._complete:
            if not self._busy or self._complete:
                self.abort()  # bytes that nobody asked for: 408 before a close, or a broken upstream
                return
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES + HELD_BYTES:
                self._fail(InvalidReply(f"{self._pool.name} sent more than {MAX_HEAD_BYTES} bytes of headers"))
                return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self._fail(InvalidReply(f"{self._pool.name} sent invalid HTTP: {error}"))
                return
            self._until_eof = True  # the reply is whole, but what follows it is not HTTP: not to be used again
        # The hot path: a stream's event, on its way to the caller before this read returns.
        chunks = self._chunks
        if self._sink is not None and len(chunks) == 1 and not self._complete:
            self._head_bytes = 0
            if not self._sink(chunks.pop()):
                self._pause()
                self._wake()
            return
        if chunks or self._complete:
            self._head_bytes = 0
        elif self._head_done:  # nothing but trailers, or what chunks have beside their size
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES + HELD_BYTES:
                self._fail(InvalidReply(f"{self._pool.name} sent more than {MAX_HEAD_BYTES} bytes of trailers"))
                return
        self._deliver()

    def eof_received(self) -> None:
        return None  # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._busy and not self._complete and self.error is None:
            if self._until_eof and exc is None:
                self._complete = True
            elif self._head_done:
                self.error = TruncatedReply(f"{self._pool.name} broke off in the middle of its reply")
            elif self._head_bytes:
                self.error = TruncatedReply(f"{self._pool.name} broke off in the middle of its reply's headers")
            else:
                why = f": {exc}" if exc is not None else ""
                self.error = ClosedUnanswered(f"{self._pool.name} closed the connection without an answer{why}")
            self._deliver()
        self._pool.lost(self)

    # httptools' side.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return  # a trailer
        name = name.lower()
        if name in FRAMING:
            self._framed = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._complete:
            raise InvalidReply(f"{self._pool.name} sent a second reply to one request")  # ends the parsing, see above
        status = self._parser.get_status_code()
        if status < 200:  # 100 Continue, 103 Early Hints: not the answer yet
            return
        self.status = status
        self._head_done = True
        self._until_eof = not self._framed and status not in (204, 304)

    def on_message_complete(self) -> None:
        if self._head_done:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()
        else:
            self.headers.clear()
            self._framed = False

    # In between.

    def tick(self) -> None:
        if not self._busy:
            self._silent_s += TICK_S
            if self._silent_s >= self._pool.limits.idle_connection_s:
                self.abort()
            return
        limits = self._pool.limits
        self._busy_s += TICK_S
        if not self._paused:
            self._silent_s += TICK_S
        if self._complete or self.error is not None:
            return
        if self._busy_s >= limits.total_s:
            self._fail(UpstreamTimeout(f"{self._pool.name} took longer than {limits.total_s:g} s in all"))
        elif not self._head_done:
            if self._silent_s >= limits.first_byte_s:
                self._fail(UpstreamTimeout(f"{self._pool.name} did not begin to answer in {limits.first_byte_s:g} s"))
        elif self._silent_s >= limits.between_bytes_s:
            self._fail(UpstreamTimeout(f"{self._pool.name} sent nothing for {limits.between_bytes_s:g} s"))

    def idle(self) -> None:
        """From busy to kept: the clock of idleness starts."""
        self._resume()  # a close must be noticed
        self._busy = False
        self._silent_s = 0.0
        self.served += 1

    def _deliver(self) -> None:
        if self._sink is not None and self._chunks and not self._sink(self._taken()):
            self._pause()
            self._wake()
            return
        if self._complete or self.error is not None or (self._head_done and self._sink is None):
            self._wake()
        if self._sink is None and sum(map(len, self._chunks)) > HELD_BYTES:
            self._pause()  # nobody pumps right now: the rest waits in the kernel

    def _taken(self) -> bytes:
        """What has come of the body since the last time."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        return data

    def _fail(self, error: UpstreamError) -> None:
        self.error = error
        self.abort()
        self._deliver()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None and self.usable:
            self._transport.pause_reading()
        self._paused = True

    def _resume(self) -> None:
        if self._paused and self._transport is not None and self.usable:
            self._transport.resume_reading()
        self._paused = False

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _waiting(self) -> asyncio.Future[None]:
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        return waiter
