"""``box.local``, asked of every machine on the LAN at once: one-shot multicast DNS. No service discovery, no cache.

Source: RFC 6762, 5.1 (one-shot queries) and 6.7 (their answers come to the port that asked); RFC 1035, 4.1 (messages).
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

GROUP: Final = "224.0.0.251"
PORT: Final = 5353
TTL: Final = 255  # RFC 6762, 11
ASK_AT_S: Final = (0.0, 0.3)  # twice: Wi-Fi drops multicasts
WAIT_S: Final = 1.2  # a sleeping Wi-Fi needs a few tenths; then nobody has this name
PACKET_BYTES: Final = 9000  # RFC 6762, 17

A, AAAA, IN = 1, 28, 1
FAMILIES: Final = {A: socket.AF_INET, AAAA: socket.AF_INET6}
HEADER: Final = struct.Struct("!6H")
RECORD: Final = struct.Struct("!HHIH")
ANSWER, ERROR, CACHE_FLUSH = 0x8000, 0x000F, 0x8000


def answers_for(host: str) -> bool:
    """RFC 6762, 3: names of one label below ``local``."""
    label, _, rest = host.rstrip(".").lower().partition(".")
    return rest == "local" and bool(label)


def addresses(host: str, group: str = GROUP, port: int = PORT) -> Sequence[str]:
    """Numeric addresses, IPv4 first. Blocks for at most `WAIT_S`. Raises `OSError` when nobody answers."""
    number = int.from_bytes(os.urandom(2), "big")
    asked = query(host, number)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
        start = time.monotonic()
        ask_at = [start + after for after in ASK_AT_S]
        while (now := time.monotonic()) < start + WAIT_S:
            if ask_at and now >= ask_at[0]:
                del ask_at[0]
                _send_everywhere(sock, asked, (group, port))
            sock.settimeout(max(0.001, min([*ask_at[:1], start + WAIT_S]) - now))
            with suppress(TimeoutError):
                packet, sender = sock.recvfrom(PACKET_BYTES)
                if sender[1] == port and (found := addresses_in(packet, host, number)):
                    return found
    raise TimeoutError("no machine on this network answers to it")


def query(host: str, number: int) -> bytes:
    labels = host.rstrip(".").encode().split(b".")
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    questions = b"".join(name + struct.pack("!HH", kind, IN) for kind in FAMILIES)
    return HEADER.pack(number, 0, len(FAMILIES), 0, 0, 0) + questions


def addresses_in(packet: bytes, host: str, number: int) -> Sequence[str]:
    """What *packet* says of *host*, if it answers query *number*; nothing where it makes no sense."""
    wanted = host.rstrip(".").lower().encode()
    found: dict[int, list[str]] = {kind: [] for kind in FAMILIES}
    try:
        its_number, flags, *_ = HEADER.unpack_from(packet)
        if its_number == number and flags & ANSWER and not flags & ERROR:
            for name, kind, value in _records(packet):
                if name == wanted and kind in FAMILIES:
                    found[kind].append(socket.inet_ntop(FAMILIES[kind], value))
    except (struct.error, IndexError, ValueError):
        return ()
    # A link-local one says nothing without its interface.
    return [one for one in (*found[A], *found[AAAA]) if not one.startswith("fe80:")]


def _records(packet: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """The answers: name, type and value."""
    _, _, questions, answers, _, _ = HEADER.unpack_from(packet)
    at = HEADER.size
    for _ in range(questions):
        _, at = _name(packet, at)
        at += 4
    for _ in range(answers):
        name, at = _name(packet, at)
        kind, family, _, size = RECORD.unpack_from(packet, at)
        at += RECORD.size
        if family & ~CACHE_FLUSH == IN:
            yield name, kind, packet[at : at + size]
        at += size


def _name(packet: bytes, at: int) -> tuple[bytes, int]:
    """In lower case, and where the next field begins. Raises `ValueError` for one that may not end."""
    labels = []
    earliest, after = at, 0
    while size := packet[at]:
        if size >= 0xC0:  # the rest of it is that of an earlier name
            after = after or at + 2
            at = struct.unpack_from("!H", packet, at)[0] & 0x3FFF
            if at >= earliest:
                raise ValueError("a name points forward")
            earliest = at
        else:
            labels.append(packet[at + 1 : at + 1 + size].lower())
            at += 1 + size
    return b".".join(labels), after or at + 1


def _send_everywhere(sock: socket.socket, packet: bytes, to: tuple[str, int]) -> None:
    """Through every interface: the LAN's need not be the one with the default route."""
    for index, _ in socket.if_nameindex():
        with suppress(OSError):  # it is down, or knows no IPv4
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", b"", b"", index))
            sock.sendto(packet, to)
