"""Where it listens, what keeps callers out, and how the last of them is seen off."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import cast

import pytest
import trustme
from harness import TEST_S, config, serving
from hypothesis import given
from hypothesis import strategies as st
from raw_caller import QUESTION, Cut, request
from scripted_upstream import hangs, upstream

from moltbot_edge.network.names import loopback
from moltbot_edge.server.callers import Callers, http_date
from moltbot_edge.server.connection import Scope
from moltbot_edge.server.listener import CannotListen, Listener, bound_sockets, callers_tls

pytestmark = pytest.mark.anyio


@given(st.integers(0, 4_000_000_000))
def test_a_date_is_written_as_http_has_it(second: int) -> None:
    assert http_date(second).decode() == format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True)


def test_every_reply_carries_the_second_it_began_in() -> None:
    times = iter([0.1, 0.9, 1.0])
    callers = Callers(lambda: next(times))
    first, same, next_one = callers.headers, callers.headers, callers.headers
    assert first is same
    assert first == [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")]
    assert next_one == [(b"date", b"Thu, 01 Jan 1970 00:00:01 GMT")]


def test_localhost_is_every_address_of_it_on_one_port() -> None:
    sockets = bound_sockets("localhost", 0)
    try:
        assert [sock.getsockname()[0] for sock in sockets] == list(loopback())
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
    finally:
        for sock in sockets:
            sock.close()


def test_a_name_of_this_machine_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(host: bytes, port: None, **options: object) -> list[object]:
        assert host == b"box.lan"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.7", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    (sock,) = bound_sockets("box.lan", 0)
    with sock:
        assert sock.getsockname()[0] == "127.0.0.7"


def test_a_port_that_is_taken_leaves_no_socket_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"127\.0\.0\.1, port {port}: address already in use"):
            bound_sockets("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_what_is_no_address_of_this_machine_is_said(host: str) -> None:
    with pytest.raises(CannotListen, match=host):
        bound_sockets(host, 0)


def test_a_key_of_another_certificate_is_said(tmp_path: Path) -> None:
    authority = trustme.CA()
    one, other = authority.issue_cert("a"), authority.issue_cert("b")
    one.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    other.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    with pytest.raises(CannotListen, match=r"cert\.pem and .*key\.pem: they do not belong together"):
        callers_tls(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))


async def test_told_to_hurry_it_waits_for_no_reply() -> None:
    async with upstream(hangs()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(request(QUESTION))
        await box.was_asked()
        gateway.stop()
        gateway.server.hurry()
        with pytest.raises(Cut):
            await client.reply()
        await box.was_left()


async def test_a_reply_that_takes_longer_than_the_grace_is_broken_off(caplog: pytest.LogCaptureFixture) -> None:
    lived = []

    async def nobody(scope: Scope, receive: object, send: object) -> None:
        """The application, which no connection here calls."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        lived.append("begun")
        yield
        lived.append("ended")

    class Endless(asyncio.Protocol):
        """A connection with a reply that does not come to its end."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.abort = cast(asyncio.Transport, transport).abort
            callers.connections.add(self)
            callers.tasks.add(asyncio.get_running_loop().create_task(asyncio.sleep(600)))

        def connection_lost(self, error: Exception | None) -> None:
            callers.connections.discard(self)

        def shutdown(self) -> None:
            lived.append("told")

    callers = Callers()
    listener = Listener(nobody, callers, Endless, lifespan, grace_s=0.05)
    (sock,) = bound_sockets("127.0.0.1", 0)
    started = asyncio.Event()
    served = asyncio.ensure_future(listener.listen([sock], None, started.set))
    await started.wait()
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    async with asyncio.timeout(TEST_S):
        while not callers.tasks:  # noqa: ASYNC110  (a connection tells nobody)
            await asyncio.sleep(0)
    listener.stop()
    await served
    assert lived == ["begun", "told", "ended"]
    assert all(task.cancelled() for task in callers.tasks)
    assert "1 replies take longer than 0.05 s" in caplog.text
    assert await reader.read() == b""
    writer.close()
