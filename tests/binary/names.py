"""A DNS server that knows the names it was given and no other, for resolvers that look at /etc/resolv.conf.

Enough of RFC 1035 for getaddrinfo(3): one question, no compression, A answered, every other type empty.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

A, NAME_ERROR = 1, 3
TTL_S = 60


class Names(asyncio.DatagramProtocol):
    """*asked* are the names in the order in which they came."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.asked: list[str] = []
        self._known = known
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        number, flags = struct.unpack_from(">HH", data)
        labels, at = [], 12
        while size := data[at]:
            labels.append(data[at + 1 : at + 1 + size].decode("ascii"))
            at += 1 + size
        question = data[12 : at + 5]
        (kind,) = struct.unpack_from(">H", data, at + 1)
        name = ".".join(labels)
        self.asked.append(name)
        address = self._known.get(name.lower())
        answer = b""
        if address is not None and kind == A:
            # 0xC00C: the name that stands at offset 12
            answer = struct.pack(">HHHIH", 0xC00C, A, 1, TTL_S, 4) + socket.inet_aton(address)
        # a response, with recursion as it was wished and available
        said = 0x8080 | (flags & 0x0100) | (0 if address is not None else NAME_ERROR)
        head = struct.pack(">HHHHHH", number, said, 1, 1 if answer else 0, 0, 0)
        self._transport.sendto(head + question + answer, addr)


@asynccontextmanager
async def naming(known: Mapping[str, str]) -> AsyncIterator[tuple[str, Names]]:
    """The address of a server on port 53, of this machine alone. Needs root."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        address = _bound(sock)
        transport, names = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Names(known), sock=sock)
        try:
            yield address, names
        finally:
            transport.close()


def _bound(sock: socket.socket) -> str:
    """The first address that no other run of the tests has taken."""
    addresses = [f"127.0.53.{last}" for last in range(1, 255)]
    for address in addresses:
        try:
            sock.bind((address, 53))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        return address
    raise OSError(f"port 53 is taken at each of {addresses[0]} to {addresses[-1]}")
