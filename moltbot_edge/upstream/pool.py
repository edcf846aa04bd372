"""The connections to one address: kept, bounded, and handed on. The line is short and the wait in it too.

Who can be served by several may wait in the line of each, and is served by the first that has room.

Source: RFC 9112, 9.3 (persistence), and the peers' stale-connection bugs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from moltbot_edge.core.concurrency import TOO_MUCH, limit
from moltbot_edge.core.errors import ClosedUnanswered, Overloaded, Unreachable, UpstreamTimeout
from moltbot_edge.core.head import Body
from moltbot_edge.network.certificates import Trust, distrust
from moltbot_edge.network.names import Names
from moltbot_edge.upstream.ticker import Ticker
from moltbot_edge.upstream.wire import Address, Reply, WireLimits

BUSY_S = 2.0  # after which to come back to a line that is full; who knows how long replies take says it better


class Pool:
    """The connections to one address. At most *limits.connections* are busy, and fewer where the upstream says that
    this is too much; who finds none waits in line, bounded.

    *line* is who waits, some of them for other pools as well. *trust* is asked where the address is one for TLS.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        limits: WireLimits,
        ticker: Ticker,
        names: Names,
        trust: Callable[[], Trust],
    ) -> None:
        self.name = name
        self.address = address
        self.limits = limits
        self.stale_retries = 0
        self._ticker = ticker
        self._names = names
        self._trust = trust
        self._idle: list[Reply] = []
        self._busy: set[Reply] = set()
        self._opening = 0
        self.line: deque[asyncio.Future[Place]] = deque()
        self._limit = limit(limits.connections)
        self._closed = False

    @property
    def counts(self) -> tuple[int, int, int]:
        """Connections idle, connections busy, requests waiting for one."""
        return len(self._idle), len(self._busy) + self._opening, len(self.line)

    @property
    def room(self) -> bool:
        return len(self._busy) + self._opening < self._limit.requests

    @property
    def limit(self) -> int:
        """How many requests it may be sent at once, as far as its refusals have told."""
        return self._limit.requests

    async def send(self, pieces: Sequence[Body], place: Place | None = None) -> Reply:
        """Send a request, head and body in *pieces*, and wait for the head of its reply.

        *place* is of `in_line`; without one it waits there itself where there is no room. A pooled connection that
        ends without a byte was stale: once, a fresh one is tried. Raises `Unreachable`, `ClosedUnanswered`,
        `UpstreamTimeout`, `InvalidReply`, `TruncatedReply`, or `Overloaded` when the line is full or too slow.
        Cancelled, it closes the connection: the upstream sees its client leave.
        """
        if place is None and len(self._busy) + self._opening < self._limit.requests:
            reply = self._kept() or await self._connect()
        else:
            place = place or await in_line((self,))
            place.used = True
            reply = place.reply or await self._connect(place_taken=True)
        sent_in_round = self._limit.round
        while True:
            try:
                await reply.begin(pieces)
            except BaseException:
                reply.close()
                raise
            if reply.error is None:
                if reply.status >= 300 or len(self._busy) * 2 >= self._limit.requests:
                    self._heed(reply.status, sent_in_round)
                return reply
            if isinstance(reply.error, UpstreamTimeout):
                self._limit = self._limit.refused(sent_in_round)
            if not isinstance(reply.error, ClosedUnanswered) or reply.served == 0:
                try:
                    raise reply.error
                finally:
                    reply.close()
            self.stale_retries += 1
            self._busy.discard(reply)
            self._ticker.discard(reply)
            self._opening += 1  # its place stays taken: nobody in line may have it
            reply = await self._connect(place_taken=True)

    def release(self, reply: Reply) -> None:
        if reply not in self._busy:
            return
        self._busy.discard(reply)
        if self._closed or not reply.reusable:
            reply.abort()
            reply.error = None  # its traceback leads back here: a circle, and what was sent would stay in it
            self._ticker.discard(reply)
            if self.line:
                self._admit()
            return
        reply.idle()
        self._idle.append(reply)
        if self.line:
            self._admit()
        if len(self._idle) > self.limits.idle_connections:
            spare = self._idle.pop()
            spare.abort()
            self._ticker.discard(spare)

    def lost(self, reply: Reply) -> None:
        """A connection has ended. A busy one is still its user's, who will close it."""
        if reply in self._idle:
            self._idle.remove(reply)
            self._ticker.discard(reply)

    def close(self) -> None:
        """End every connection; requests on them fail as if the upstream had gone."""
        self._closed = True
        for reply in [*self._idle, *self._busy]:
            reply.abort()
        for waiter in self.line:
            if not waiter.done():
                waiter.set_exception(Unreachable(f"{self.name} is gone"))

    def _kept(self) -> Reply | None:
        """The connection used last, as it is the least likely to be stale."""
        while self._idle:
            reply = self._idle.pop()
            if reply.usable:
                self._busy.add(reply)
                return reply
            self._ticker.discard(reply)
        return None

    def _heed(self, status: int, sent_in_round: int) -> None:
        """What an answer says of how much the upstream takes."""
        if status < 300:
            self._limit = self._limit.taken(len(self._busy) + self._opening)
            if self.line:
                self._admit()
        elif status in TOO_MUCH:
            self._limit = self._limit.refused(sent_in_round)

    def give_back(self, given: Reply | None) -> None:
        """A place that was given to somebody who has left."""
        if given is not None:
            self.release(given)
        else:
            self._opening -= 1
            self._admit()

    def _admit(self) -> None:
        """Give what is free to the first in line; who gets no connection makes one."""
        while self.line and self.room:
            waiter = self.line.popleft()
            if not waiter.done():
                reply = self._kept()
                if reply is None:
                    self._opening += 1
                waiter.set_result(Place(self, reply))

    async def _connect(self, *, place_taken: bool = False) -> Reply:
        """A fresh connection. Its place among *limits.connections* is taken before the first await."""
        if not place_taken:
            self._opening += 1
        late = f"the name {self.address.host!r} was not resolved"
        try:
            async with asyncio.timeout(self.limits.connect_s):
                addresses = await self._names.addresses(self.address.host)
                late = "it did not accept a connection"
                reply = await self._dial(addresses)
        except BaseException as error:
            self.give_back(None)
            where = self.name if self.name == str(self.address) else f"{self.name} at {self.address}"
            if isinstance(error, TimeoutError):
                message = f"{where} cannot be reached: {late} in {self.limits.connect_s:g} s"
                raise Unreachable(message) from error
            if isinstance(error, ssl.SSLCertVerificationError):
                raise Unreachable(f"{where} cannot be reached: {distrust(error, self._trust())}") from error
            if isinstance(error, OSError | UnicodeError):  # ssl.SSLError is one; a host may be no name at all
                said = str(error) or ("it hung up on TLS" if self.address.tls else type(error).__name__)
                raise Unreachable(f"{where} cannot be reached: {said}") from error
            raise
        self._opening -= 1
        self._busy.add(reply)
        self._ticker.add(reply)
        return reply

    async def _dial(self, addresses: Sequence[str]) -> Reply:
        """Raises what the first of *addresses* said, where none accepts."""
        at = self.address
        tls = self._trust().context if at.tls else None
        refused: OSError | None = None
        for address in addresses:
            try:
                _, reply = await asyncio.get_running_loop().create_connection(
                    lambda: Reply(self), address, at.port, ssl=tls, server_hostname=at.host if at.tls else None
                )
                return reply
            except ssl.SSLError:
                raise
            except OSError as error:
                refused = refused or error
        raise refused or OSError("its name has no address")


class Place(msgspec.Struct):
    """Room for one request, with the connection where there is one. Whoever has it must send, or give it back."""

    pool: Pool
    reply: Reply | None
    used: bool = False

    def give_back(self) -> None:
        if not self.used:
            self.used = True
            self.pool.give_back(self.reply)


async def in_line(pools: Sequence[Pool]) -> Place:
    """Wait in the line of each of *pools*, for the first that has room. Raises `Overloaded`: all full, or too slow."""
    name = pools[0].name if len(pools) == 1 else f"each of {len(pools)} upstreams"
    queue_s = pools[0].limits.queue_s
    lines = [pool.line for pool in dict.fromkeys(pools) if len(pool.line) < pool.limits.queue]
    if not lines:
        raise Overloaded(f"{name} is busy and {len(pools[0].line)} requests wait for it", retry_after_s=BUSY_S)
    waiter: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
    for line in lines:
        line.append(waiter)
    try:
        async with asyncio.timeout(queue_s):
            return await waiter
    except BaseException as error:
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            waiter.result().give_back()  # it was given just as we left
        if isinstance(error, TimeoutError):
            raise Overloaded(f"{name} was busy for {queue_s:g} s", retry_after_s=BUSY_S) from error
        raise
    finally:
        for line in lines:
            with suppress(ValueError):
                line.remove(waiter)
