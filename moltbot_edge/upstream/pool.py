"""The connections to one address: kept, bounded, and handed on. The line is short and the wait in it too.

Source: RFC 9112, 9.3 (persistence), and the peers' stale-connection bugs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence

from moltbot_edge.core.errors import ClosedUnanswered, Overloaded, Unreachable
from moltbot_edge.core.head import Body
from moltbot_edge.network.certificates import Trust, distrust
from moltbot_edge.network.names import Names
from moltbot_edge.upstream.ticker import Ticker
from moltbot_edge.upstream.wire import Address, Reply, WireLimits


class Pool:
    """The connections to one address. At most *limits.connections*; who finds none waits in line, bounded.

    *trust* is asked where the address is one for TLS.
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
        self._waiting: deque[asyncio.Future[Reply | None]] = deque()
        self._closed = False

    @property
    def counts(self) -> tuple[int, int, int]:
        """Connections idle, connections busy, requests waiting for one."""
        return len(self._idle), len(self._busy) + self._opening, len(self._waiting)

    async def send(self, pieces: Sequence[Body]) -> Reply:
        """Send a request, head and body in *pieces*, and wait for the head of its reply.

        A pooled connection that ends without a byte was stale: once, a fresh one is tried. Raises `Unreachable`,
        `ClosedUnanswered`, `UpstreamTimeout`, `InvalidReply`, `TruncatedReply`, or `Overloaded` when the line is full
        or too slow. Cancelled, it closes the connection: the upstream sees its client leave.
        """
        reply = self._kept() or await self._acquire()
        while True:
            try:
                await reply.begin(pieces)
            except BaseException:
                reply.close()
                raise
            if reply.error is None:
                return reply
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
            self._let_next_connect()
            return
        reply.idle()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._busy.add(reply)
                waiter.set_result(reply)
                return
        if len(self._idle) < self.limits.idle_connections:
            self._idle.append(reply)
        else:
            reply.abort()
            self._ticker.discard(reply)

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
        for waiter in self._waiting:
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

    async def _acquire(self) -> Reply:
        if len(self._busy) + self._opening < self.limits.connections:
            return await self._connect()
        if len(self._waiting) >= self.limits.queue:
            raise Overloaded(f"{self.name} is busy and {len(self._waiting)} requests wait for it", retry_after_s=2)
        waiter: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self.limits.queue_s):
                given = await waiter
        except BaseException as error:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._pass_on(waiter.result())  # it was given just as we left
            if isinstance(error, TimeoutError):
                raise Overloaded(f"{self.name} was busy for {self.limits.queue_s:g} s", retry_after_s=2) from error
            raise
        return given if given is not None else await self._connect(place_taken=True)

    def _pass_on(self, given: Reply | None) -> None:
        if given is not None:
            self.release(given)
        else:
            self._opening -= 1
            self._let_next_connect()

    def _let_next_connect(self) -> None:
        """Give a free place to the first in line, who connects for itself."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._opening += 1
                waiter.set_result(None)
                return

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
            self._pass_on(None)
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
