"""A caller who says exactly the bytes that a test wants, and sees how a reply really ends. No HTTP client."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

CHAT = "/v1/chat/completions"
QUESTION: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}


class Cut(Exception):
    """The connection ended in the middle of a reply; *got* is what had come of its body."""

    def __init__(self, got: bytes) -> None:
        super().__init__(f"cut after {len(got)} bytes: {got[-200:]!r}")
        self.got = got


class Answer(msgspec.Struct, frozen=True):
    """*headers* have names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def data(self) -> list[bytes]:
        """What the events of a stream say, comments left out."""
        events = self.body.split(b"\n\n")
        assert events.pop() == b"", "the last event is not whole"
        return [event.removeprefix(b"data: ") for event in events if not event.startswith(b":")]


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Each piece leaves by itself."""
        for piece in pieces:
            if self.writer.is_closing():
                raise ConnectionResetError("the other side has closed")
            self.writer.write(piece)
            await self.writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)

    async def ask(self, body: Any = QUESTION, *headers: str, path: str = CHAT, method: str = "POST") -> Answer:
        await self.send(request(body, *headers, path=path, method=method))
        return await self.reply(method)

    async def head(self) -> Answer:
        """The head of the next reply. Raises `Cut`, also where the connection ends before it."""
        try:
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut(getattr(error, "partial", b"")) from error
        first, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
        headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        return Answer(int(first.split(" ")[1]), headers)

    async def reply(self, method: str = "POST") -> Answer:
        """The next reply, whole. Raises `Cut`."""
        head = await self.head()
        body = bytearray()
        async for piece in self.pieces(head, method):
            body += piece
        return Answer(head.status, head.headers, bytes(body))

    async def pieces(self, head: Answer, method: str = "POST") -> AsyncIterator[bytes]:
        """The body that follows *head*: its chunks, or all of it. Raises `Cut`."""
        got = bytearray()
        length = head.header("content-length")
        try:
            if method == "HEAD" or head.status in (204, 304):
                return
            if head.header("transfer-encoding") == "chunked":
                while (size := int(await self.reader.readuntil(b"\r\n"), 16)) > 0:
                    piece = await self.reader.readexactly(size)
                    got += piece
                    assert await self.reader.readexactly(2) == b"\r\n"
                    yield piece
                assert await self.reader.readexactly(2) == b"\r\n"
            elif length is not None:
                yield await self.reader.readexactly(int(length))
            else:
                yield await self.reader.read()
        except asyncio.IncompleteReadError as error:
            raise Cut(bytes(got) + error.partial) from error
        except ConnectionError as error:
            raise Cut(bytes(got)) from error

    async def closed(self) -> bytes:
        """What comes until the other side closes."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    def leave(self) -> None:
        self.writer.transport.abort()


def request(body: Any = QUESTION, *headers: str, path: str = CHAT, method: str = "POST", version: str = "1.1") -> bytes:
    """A request with its length; *body* as bytes, or to be JSON; None for none."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/{version}", "Host: gateway", *headers]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join([*lines, "", ""]).encode() + data


@asynccontextmanager
async def caller(
    port: int, *, receive_buffer_bytes: int | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Caller]:
    """*receive_buffer_bytes* is the kernel's, for one who reads slowly."""
    sock = socket.socket()
    if receive_buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=tls, server_hostname=None if tls is None else "127.0.0.1"
        )
    except BaseException:
        sock.close()
        raise
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()
