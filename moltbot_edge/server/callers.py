"""Who is connected, what is being served, and the date that every reply carries. No sockets: those are `listener`'s."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Connected(Protocol):
    """What ending needs of a connection, which is `connection.Connection`."""

    def shutdown(self) -> None: ...

    def abort(self) -> None: ...


class Callers:
    """*tasks* each serve one request; *served* counts those that are done. *clock* gives seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.connections: set[Connected] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.served = 0
        self._clock = clock
        self._second = -1
        self._headers: list[tuple[bytes, bytes]] = []

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of every reply. Written anew once a second, when there is a reply."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._headers = [(b"date", http_date(second))]
        return self._headers


def http_date(seconds: float) -> bytes:
    """RFC 9110, 5.6.7. `strftime` would follow a locale."""
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(seconds)
    return f"{DAYS[weekday]}, {day:02} {MONTHS[month - 1]} {year} {hour:02}:{minute:02}:{second:02} GMT".encode()
