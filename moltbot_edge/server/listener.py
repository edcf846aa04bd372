"""Where callers come in, from the first socket to the last reply. Not what they are told: that is the application.

uvicorn's server, with `connection.Connection` as its protocol. It would wake ten times a second to see whether it
should end; here it sleeps until it is told.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack

import uvicorn

from moltbot_edge.network.names import is_address, is_localhost, loopback
from moltbot_edge.server.callers import Callers
from moltbot_edge.server.connection import Asgi

BACKLOG = 2048
LOOK_S = 0.02  # how often it is looked, while ending, whether the last reply has gone

log = logging.getLogger(__name__)

Lifespan = Callable[[], AbstractAsyncContextManager[None]]


class CannotListen(Exception):
    """What keeps callers out, and of which address or file."""


class Listener(uvicorn.Server):
    """*connection* makes the protocol of one caller, which calls *app*; *lifespan* is what lives around all of them.

    *grace_s* bounds how long replies under way are waited for at the end.
    """

    def __init__(
        self,
        app: Asgi,
        callers: Callers,
        connection: Callable[[], asyncio.BaseProtocol],
        lifespan: Lifespan,
        grace_s: float,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=lambda **of_uvicorn: connection(),  # type: ignore[arg-type]  # it is called as a class would be
                ws="none",
                interface="asgi3",
                lifespan="off",  # an application's own; this one's is *lifespan*
                log_config=None,
                backlog=BACKLOG,
            )
        )
        self.server_state = callers  # type: ignore[assignment]  # what its own protocols need more, ours does not
        self.callers = callers
        self._lifespan = lifespan
        self._grace_s = grace_s
        self._told = asyncio.Event()

    @property
    def stopping(self) -> bool:
        return self._told.is_set()

    def stop(self) -> None:
        """Replies under way are finished first."""
        self.should_exit = True
        self._told.set()

    def hurry(self) -> None:
        """Stop without waiting for replies."""
        self.force_exit = True
        self.stop()

    async def listen(
        self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None, on_started: Callable[[], None]
    ) -> None:
        """From *sockets*, bound, until `stop`; they are closed then."""
        self.config.load()
        self.config.ssl = tls
        self.lifespan = self.config.lifespan_class(self.config)
        async with self._lifespan():
            await self.startup(list(sockets))
            try:
                on_started()
                await self.main_loop()
            finally:
                await self.shutdown(list(sockets))

    async def main_loop(self) -> None:
        await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        callers = self.callers
        for connection in tuple(callers.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self._grace_s):
                pause_s = LOOK_S / 16  # who is idle has gone by then
                while (callers.connections or callers.tasks) and not self.force_exit:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LOOK_S)
        except TimeoutError:
            log.error("%d replies take longer than %g s to end, and are broken off", len(callers.tasks), self._grace_s)
        for connection in tuple(callers.connections):
            connection.abort()
        if callers.tasks:
            for task in callers.tasks:
                task.cancel("the gateway ends")
            await asyncio.wait(callers.tasks, timeout=self._grace_s)


def bound_sockets(host: str, port: int) -> list[socket.socket]:
    """One for each address of *host*, all on one port. Raises `CannotListen`."""
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        for address in _addresses(host):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            try:
                sock = opened.enter_context(socket.socket(family))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:  # an IPv4 caller comes to an address of its own kind, as with asyncio
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address, sockets[0].getsockname()[1] if sockets else port))
            except OSError as error:
                raise CannotListen(f"{address}, port {port}: {(error.strerror or str(error)).lower()}") from error
            sockets.append(sock)
        opened.pop_all()
    return sockets


def _addresses(host: str) -> Sequence[str]:
    if is_address(host):
        return (host,)
    if is_localhost(host):
        return loopback()
    try:
        found = socket.getaddrinfo(host.encode("idna"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"{host} is no address of this machine: {getattr(error, 'strerror', error)}") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def callers_tls(cert: str, key: str) -> ssl.SSLContext:
    """For a certificate with its chain and its private key, both PEM files. Raises `CannotListen`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:  # ssl.SSLError is one
        reason = "they do not belong together, or are not PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise CannotListen(f"with TLS, {cert} and {key}: {reason} ({error})") from error
    return context
