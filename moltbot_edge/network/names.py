"""Addresses of a name, also on a system without a hosts file or a name server. No cache: pools keep connections.

``localhost`` is this machine whatever any file says (RFC 6761, 6.3), and ``box.local`` is asked of the LAN beside the C
library, which does that itself only where glibc has a module for it (nss-mdns).

A look-up blocks its thread for seconds when a name server is away, so each name has one of its own, and only one:
a name that is not found holds up neither the others nor the end of the process.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from moltbot_edge.network import multicast

LOOPBACK: Final = ("127.0.0.1", "::1")
RESOLV_CONF: Final = Path("/etc/resolv.conf")
# For hosts files, and multicast. Without a name server musl asks 127.0.0.1 for five seconds all the same.
WITHOUT_SERVER_S: Final = multicast.WAIT_S + 0.3


class NoAddress(OSError):
    """A name without an address; the message says what was asked."""


def is_localhost(host: str) -> bool:
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def loopback() -> Sequence[str]:
    """The addresses of this machine to itself that its kernel has: IPv6 may be switched off."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind((LOOPBACK[1], 0))
    except OSError:
        return LOOPBACK[:1]
    return LOOPBACK


def is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):  # ValueError: a zero byte, or not ASCII
            socket.inet_pton(family, host.partition("%")[0])
            return True
    return False


class Names:
    """Lives in one event loop. *resolv_conf* is only looked at: the C library reads it itself."""

    def __init__(self, resolv_conf: Path = RESOLV_CONF) -> None:
        self._resolv_conf = resolv_conf
        self._asked: dict[str, asyncio.Future[Sequence[str] | str]] = {}

    async def addresses(self, host: str) -> Sequence[str]:
        """The numeric addresses of *host*, in the order in which to try them. Raises `NoAddress`.

        Waits as long as the C library does, some five seconds for each name server that does not answer.
        """
        if is_address(host):
            return (host,)
        if is_localhost(host):
            return LOOPBACK
        hint = ""
        if not self._has_server():
            hint = f"; no name server is set ({self._resolv_conf}): write an address, or put the name into /etc/hosts"
        found: Sequence[str] | str = f"not found in {WITHOUT_SERVER_S:g} s"
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHOUT_SERVER_S if hint else None):
                found = await asyncio.shield(self._asked.get(host) or self._ask(host))
        if isinstance(found, str):
            raise NoAddress(f"no address for the name {host!r}: {found}{hint}")
        return found

    def _ask(self, host: str) -> asyncio.Future[Sequence[str] | str]:
        """All that may know *host* at once; the first to know it counts, else the last one's reason."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str] | str] = loop.create_future()
        ways = [_from_the_system, *([multicast.addresses] if multicast.answers_for(host) else [])]
        open_ways = len(ways)

        def heard(found: Sequence[str] | str) -> None:
            nonlocal open_ways
            open_ways -= 1
            if not answer.done() and (open_ways == 0 or not isinstance(found, str)):
                answer.set_result(found)
            if open_ways == 0:
                self._asked.pop(host, None)

        def ask(way: Callable[[str], Sequence[str]]) -> None:
            found: Sequence[str] | str = "the look-up failed"
            try:
                found = way(host)
            except (OSError, UnicodeError) as error:
                found = getattr(error, "strerror", None) or str(error)
            finally:
                with suppress(RuntimeError):  # the loop has ended meanwhile
                    loop.call_soon_threadsafe(heard, found)

        for way in ways:
            threading.Thread(target=ask, args=(way,), name=f"name {host}", daemon=True).start()
        self._asked[host] = answer
        return answer

    def _has_server(self) -> bool:
        try:
            lines = self._resolv_conf.read_text(errors="replace").splitlines()
        except OSError:
            return False
        return any(line.split()[:1] == ["nameserver"] for line in lines)


def _from_the_system(host: str) -> Sequence[str]:
    # As bytes, an ASCII name needs no `encodings.idna`, which has 300 KiB of tables.
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
