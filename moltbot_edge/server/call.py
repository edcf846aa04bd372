"""One request on a caller's connection, and its reply: `gateway.caller.Caller` for the gateway, ASGI for the rest.

Frames HTTP/1.1, and knows no socket: what it needs of its connection is `Line`. Source: RFC 9112, sections 6 and 7.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Iterable, MutableMapping
from typing import Any, Protocol

from moltbot_edge.core.errors import GatewayError

EXTENSION = "moltbot-edge"
"""``scope["extensions"]`` holds the `Call` itself under this name, for endpoints that write without `send`."""

COPIED_BYTES = 16 * 1024  # up to this, frame and data leave as one copied buffer

Message = MutableMapping[str, Any]

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CHUNK_HEADS = tuple(b"%x\r\n" % size for size in range(1024))  # nearly every event is shorter than that


class Line(Protocol):
    """What a call needs of its connection. *write_paused*: more than the high-water mark is unsent."""

    transport: asyncio.Transport
    lost: bool
    write_paused: bool

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]: ...

    def write(self, data: bytes) -> None: ...

    def writelines(self, pieces: Iterable[bytes]) -> None: ...

    async def drained(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None: ...

    def replied(self, call: Call) -> None: ...


class Call:
    """One request and its reply. `gateway.caller.Caller` for the gateway; `receive` and `send` for ASGI."""

    def __init__(
        self,
        connection: Line,
        method: str,
        http_version: str,
        content_length: int | None,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self.method = method
        self.http_version = http_version
        self.content_length = content_length
        self.keep_alive = keep_alive
        self.body_complete = False
        self.started = False
        self.complete = False
        self.received = 0  # bytes of the body, so far
        self.waited_s = 0.0  # for them
        self.writes = 0
        self.task: asyncio.Task[None] | None = None
        self._connection = connection
        self._expects_continue = expects_continue
        self._body: list[bytes] = []
        self._whole: bytearray | None = None  # where the body goes, once somebody has room for all of it
        self._filled = 0
        self._body_given = False
        self._body_error: GatewayError | None = None
        self._body_waiter: asyncio.Future[None] | None = None
        self._head = b""  # of the reply, until its first bytes take it along
        self._chunked = False
        self._length: int | None = None

    # The request's body, from the socket only as far as somebody asks.

    async def body_piece(self) -> bytes:
        """What has come of the body since the last time, waiting for some; empty at its end.

        Raises `RequestTimeout` when the caller stopped sending in the middle.
        """
        while not self._body and not self.body_complete:
            if self._body_error is not None:
                raise self._body_error
            if self._expects_continue:
                self._expects_continue = False
                self._connection.write(CONTINUE)
            self._connection.resume_reading()
            self._body_waiter = asyncio.get_running_loop().create_future()
            await self._body_waiter
        return self.body_so_far()

    async def body_of(self, length: int) -> bytearray:
        """The whole body, read straight into its place: a piece on its way would be held once more."""
        whole = bytearray(length)
        sofar = self.body_so_far()
        whole[: len(sofar)] = sofar
        self._filled = len(sofar)
        self._whole = whole
        del sofar
        try:
            await self.body_piece()
        finally:
            self._whole = None  # the call outlives the body
        return whole

    def body_so_far(self) -> bytes:
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        return data

    @property
    def waits_for_body(self) -> bool:
        return not self.body_complete and self._body_waiter is not None and not self._body_waiter.done()

    @property
    def wants_reading(self) -> bool:
        """A body nobody waits for stays in the kernel; after it, reading is how a caller's leaving is noticed."""
        return self.body_complete or self.waits_for_body

    def add_body(self, data: bytes) -> None:
        self.received += len(data)
        if self._whole is not None:
            self._whole[self._filled : self._filled + len(data)] = data
            self._filled += len(data)
            return
        self._body.append(data)
        self.wake()

    def end_body(self, error: GatewayError | None = None) -> None:
        self.body_complete = error is None
        self._body_error = error
        self.wake()

    def wake(self) -> None:
        if self._body_waiter is not None and not self._body_waiter.done():
            self._body_waiter.set_result(None)

    # The reply, as the gateway writes it.

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]], length: int | None) -> None:
        self.started = True
        if not self.body_complete:
            self.keep_alive = False  # what is left of the body would be taken for the next request
        lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        for name, value in self._connection.default_headers:
            lines += (name, b": ", value, b"\r\n")
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        self._length = length
        self._chunked = False
        if status in (204, 304):
            self._length = 0
        elif length is not None:
            lines.append(b"content-length: %d\r\n" % length)
        elif self.http_version == "1.0":
            self.keep_alive = False
        else:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    def write(self, data: bytes) -> bool:
        connection = self._connection
        self.writes += 1
        if self._chunked and not self._head and 0 < len(data) < len(CHUNK_HEADS) and not connection.lost:
            # The hot path: one event, one buffer, one write.
            connection.transport.write(b"".join((CHUNK_HEADS[len(data)], data, b"\r\n")))
        elif data:
            self._send(data, b"")
        return not connection.write_paused

    def finish(self, data: bytes = b"") -> None:
        self._send(data, LAST_CHUNK if self._chunked else b"")
        self.complete = True
        if self._length:
            self.cut()  # shorter than was promised: the only honest end
            return
        self._connection.replied(self)

    def cut(self) -> None:
        self._connection.abort()

    async def drained(self) -> None:
        await self._connection.drained()

    def _send(self, data: bytes, end: bytes) -> None:
        head, self._head = self._head, b""
        if self.method == "HEAD":
            self._length = 0
            data = end = b""
        elif self._chunked and data:
            if len(data) > COPIED_BYTES:
                self._connection.writelines((b"%b%x\r\n" % (head, len(data)), data, b"\r\n" + end))
                return
            self._connection.write(b"%b%x\r\n%b\r\n%b" % (head, len(data), data, end))
            return
        elif self._length is not None:
            self._length -= len(data)
        if len(data) > COPIED_BYTES:
            self._connection.writelines((head, data, end) if head else (data, end))
        else:
            self._connection.write(head + data + end)

    # ASGI.

    async def receive(self) -> Message:
        if self._body_given:
            self._body_waiter = asyncio.get_running_loop().create_future()
            await self._body_waiter  # until the caller leaves
            return {"type": "http.disconnect"}
        data = await self.body_piece()
        self._body_given = self.body_complete
        return {"type": "http.request", "body": data, "more_body": not self.body_complete}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            length: int | None = None
            headers = []
            for name, value in message.get("headers", ()):
                if name.lower() == b"content-length":
                    length = int(value)
                elif name.lower() not in (b"transfer-encoding", b"connection"):
                    headers.append((name, value))
            self.start(message["status"], headers, length)
        elif message.get("more_body", False):
            if not self.write(message.get("body", b"")):
                await self.drained()
        else:
            self.finish(message.get("body", b""))
