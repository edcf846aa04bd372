"""What an engine's answers mean, and what no answer means."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from moltbot_edge.local import health

pytestmark = pytest.mark.anyio
HOST = "127.0.0.1"


@asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("reply", "ready"),
    [
        (b'HTTP/1.1 200 OK\r\n\r\n{"status":"ok"}', True),
        (b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"error":{"message":"Loading model"}}', False),
        (b"", False),
        (b"HTTP/1.1 ", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
    ],
)
async def test_an_engine_is_ready_when_it_says_so(reply: bytes, ready: bool) -> None:
    async with answering(reply) as port:
        assert await health.is_ready(HOST, port) is ready


@pytest.mark.parametrize(
    ("reply", "idle"),
    [
        (b'HTTP/1.1 200 OK\r\n\r\n[{"id":0,"is_processing":false}]', True),
        (b'HTTP/1.1 200 OK\r\n\r\n[{"id":0,"is_processing":false},{"id":1,"is_processing":true}]', False),
        (b'HTTP/1.1 501 Not Implemented\r\n\r\n{"error":{"code":501}}', True),
        (b"", False),
    ],
)
async def test_an_engine_is_idle_when_no_slot_works(reply: bytes, idle: bool) -> None:
    async with answering(reply) as port:
        assert await health.is_idle(HOST, port) is idle


async def test_where_nobody_listens_nothing_is_ready_or_idle() -> None:
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        port = bound.getsockname()[1]
        assert not await health.is_ready(HOST, port)
        assert not await health.is_idle(HOST, port)
