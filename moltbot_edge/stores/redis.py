"""Sessions at a Redis server, where several gateways share them. Needs the extra ``redis``.

A session is a list of turns, and lives as long as the server's clock says after its last one. What has to be decided
and done at once is a script at the server: no two gateways put a turn after the same one. One at a time has a session
by a lease that is renewed while it lasts; a gateway that dies with it holds up the others for `LEASE_S` at most, and
one that slept through its lease is refused by the script. How durable a turn is says the server's ``appendfsync``.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

from redis import asyncio as client
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from moltbot_edge.api import StoreError, StoreFull, StoreReadOnly, StoreUnreachable, store
from moltbot_edge.core.record import Unreadable
from moltbot_edge.core.session import ID_CHARS, Kept, Turn
from moltbot_edge.core.store import Page, Stats, Store, StoreOptions, Summary
from moltbot_edge.stores import envelope
from moltbot_edge.stores.refusals import check_size, conflict, position
from moltbot_edge.stores.turnstile import Turnstile, busy
from moltbot_edge.stores.weight import weight_bytes

T = TypeVar("T")

PREFIX: Final = "moltbot:"
APART: Final = "\x1f"  # a session's name has none
SIZE_CHARS: Final = 12
HEAD_CHARS: Final = ID_CHARS + SIZE_CHARS  # before each turn: its id, and what the session takes with it
LEASE_S: Final = 15.0
ASKED_AGAIN_S: Final = (0.01, 0.2)  # for a lease that another gateway has
ANSWER_S: Final = 5.0  # a server on the LAN takes a millisecond
AGAIN_S: Final = 0.05
CONNECTIONS: Final = 16
LOOKED_AT: Final = 100
READ_HERE_BYTES: Final = 16 * 1024  # 0.3 ms; of more, the event loop does not wait for it

# KEYS: the turns, the owner's sessions, everybody's. ARGV: the leaf that is expected, the limit, milliseconds to live,
# the time, the session's name among its owner's and among all, then for each turn its id, its weight and its bytes.
PUT: Final = f"""
local last = redis.call('LINDEX', KEYS[1], -1)
local leaf, size = '', 0
if last then
  leaf = string.sub(last, 1, {ID_CHARS})
  size = tonumber(string.sub(last, {ID_CHARS + 1}, {HEAD_CHARS}))
end
if leaf ~= ARGV[1] then return {{0, leaf}} end
local total = size
for at = 8, #ARGV, 3 do total = total + tonumber(ARGV[at]) end
if total > tonumber(ARGV[2]) then return {{1, total}} end
for at = 7, #ARGV, 3 do
  size = size + tonumber(ARGV[at + 1])
  redis.call('RPUSH', KEYS[1], ARGV[at] .. string.format('%0{SIZE_CHARS}d', size) .. ARGV[at + 2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local gone = tonumber(ARGV[4]) - tonumber(ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', gone)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[6])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', gone)
redis.call('PEXPIRE', KEYS[3], ARGV[3])
return {{2, size}}
"""
# A lease is renewed, and given up, only by who has it. What he is at work in does not end meanwhile, nor just after.
RENEW: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if redis.call('PTTL', KEYS[2]) < 2 * ARGV[2] then redis.call('PEXPIRE', KEYS[2], 2 * ARGV[2]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Redis:
    def __init__(self, options: StoreOptions, server: client.Redis) -> None:
        self.trouble: StoreError | None = None
        self.size_bytes = None  # the server knows
        self._options = options
        self._server: Any = server  # whose calls say that they may or may not be awaited
        self._turnstile = Turnstile(options.waiters)

    async def load(self, owner: str, session: str) -> Kept | None:
        found = await self._asked(self._server.lrange(_turns(owner, session), 0, -1))
        if not found:
            return None
        short = sum(map(len, found)) <= READ_HERE_BYTES
        turns = _read(found) if short else await asyncio.to_thread(_read, found)
        last = found[-1][:ID_CHARS].decode(errors="replace")
        return Kept(tuple(turns), _size(found[-1]), None if turns and turns[-1].id == last else last)

    async def append(self, owner: str, session: str, turn: Turn, leaf: str | None) -> None:
        await self._put(owner, session, [turn], leaf)

    async def add(self, owner: str, session: str, turns: Sequence[Turn]) -> None:
        await self._put(owner, session, turns, None)

    async def delete(self, owner: str, session: str) -> bool:
        pipeline = self._server.pipeline()
        pipeline.delete(_turns(owner, session))
        pipeline.zrem(_owned(owner), session)
        pipeline.zrem(_owned(None), owner + APART + session)
        return bool((await self._asked(pipeline.execute()))[0])

    async def list(self, owner: str | None, limit: int, after: str | None = None) -> Page:
        """*after* is a place in the list: while sessions go on, one may be shown twice, and none is left out."""
        place = position(after, 0)
        found: list[Summary] = []
        while True:
            names = await self._asked(
                self._server.zrevrange(_owned(owner), place, place + LOOKED_AT - 1, withscores=True)
            )
            if not names:
                return Page(tuple(found))
            pipeline = self._server.pipeline(transaction=False)
            whose = []
            for name, at in names:
                mine, _, session = name.decode().rpartition(APART) if owner is None else (owner, "", name.decode())
                whose.append((mine, session, at / 1000))
                pipeline.llen(_turns(mine, session))
                pipeline.lrange(_turns(mine, session), -1, -1)
            answers = iter(await self._asked(pipeline.execute()))
            for (mine, session, at), count, last in zip(whose, answers, answers, strict=False):
                if len(found) == limit:
                    return Page(tuple(found), str(place))
                place += 1
                if last:
                    leaf = last[0][:ID_CHARS].decode()
                    found.append(Summary(mine, session, leaf, at, count, _size(last[0])))

    async def stats(self) -> Stats:
        sessions = await self._asked(self._server.zcard(_owned(None)))
        memory = await self._asked(self._server.info("memory"))
        return Stats(0, memory["used_memory"], sessions)

    async def compact(self) -> None:
        """The server does."""

    @asynccontextmanager
    async def held(self, owner: str, session: str, wait_s: float) -> AsyncIterator[None]:
        began = asyncio.get_running_loop().time()
        async with self._turnstile.held(owner, session, wait_s):
            key, token = f"{PREFIX}lease{APART}{owner}{APART}{session}", secrets.token_hex(16)
            waited_s = asyncio.get_running_loop().time() - began
            try:
                await self._lease(key, token, session, wait_s, max(0.0, wait_s - waited_s))
            except asyncio.CancelledError:  # the lease may be there
                await self._release(key, token)
                raise
            renewing = asyncio.create_task(self._renew(key, token, _turns(owner, session)))
            try:
                yield
            finally:
                renewing.cancel()
                await self._release(key, token)

    async def _lease(self, key: str, token: str, session: str, wait_s: float, left_s: float) -> None:
        clock = asyncio.get_running_loop().time
        end, pause_s = clock() + left_s, ASKED_AGAIN_S[0]
        while not await _to_its_end(self._asked(self._server.set(key, token, nx=True, px=int(LEASE_S * 1000)))):
            left_s = end - clock()
            if left_s <= 0:
                raise busy(session, wait_s)
            await asyncio.sleep(min(left_s, pause_s * random.uniform(0.5, 1.5)))
            pause_s = min(pause_s * 1.5, ASKED_AGAIN_S[1])

    async def _release(self, key: str, token: str) -> None:
        with suppress(StoreError):  # then it ends by itself
            await self._asked(self._server.eval(RELEASE, 1, key, token))

    async def _renew(self, key: str, token: str, turns: str) -> None:
        held = True
        while held:
            await asyncio.sleep(LEASE_S / 3)
            with suppress(StoreError):  # it is tried again before the lease is over
                held = bool(await self._asked(self._server.eval(RENEW, 2, key, turns, token, int(LEASE_S * 1000))))

    async def _put(self, owner: str, session: str, turns: Sequence[Turn], leaf: str | None) -> None:
        # A long one is packed off the event loop.
        values = await asyncio.to_thread(lambda: [envelope.sealed(turn) for turn in turns])
        weights = [weight_bytes([turn]) for turn in turns]
        check_size(session, sum(weights), self._options.session_bytes)
        keys = _turns(owner, session), _owned(owner), _owned(None)
        said: list[Any] = [leaf or "", self._options.session_bytes, int(self._options.timeout_s * 1000)]
        said += [int(self._options.clock() * 1000), session, owner + APART + session]
        for turn, weight, value in zip(turns, weights, values, strict=True):
            said += [turn.id, weight, value]
        outcome, detail = await _to_its_end(self._asked(self._server.eval(PUT, len(keys), *keys, *said)))
        if outcome == 0 and detail.decode() != turns[-1].id:  # else it was put, and the answer was lost
            raise conflict(session, leaf, detail.decode() or None)
        if outcome == 1:
            check_size(session, detail, self._options.session_bytes)

    async def _asked(self, call: Awaitable[T]) -> T:
        try:
            answer = await call
        except (exceptions.RedisError, OSError) as error:
            self.trouble = trouble = self._translated(error)
            if isinstance(trouble, StoreReadOnly):  # its name may be another server's by now
                with suppress(exceptions.RedisError, OSError):
                    await self._server.connection_pool.disconnect(inuse_connections=False)
            raise trouble from error
        self.trouble = None
        return answer

    def _translated(self, error: Exception) -> StoreError:
        # What stands before an @ is secret, and so may be what stands behind a question mark.
        where = self._options.url.rpartition("@")[2].partition("?")[0]
        match error:
            case exceptions.OutOfMemoryError():
                return StoreFull(f"the Redis server at {where} has no room for sessions ({error})", retry_after_s=5.0)
            case exceptions.ReadOnlyError():
                return StoreReadOnly(f"the Redis server at {where} is a replica and takes no sessions ({error})")
            case _:
                return StoreUnreachable(f"the Redis server at {where} does not serve ({error})", retry_after_s=5.0)


async def _to_its_end(call: Coroutine[Any, Any, T]) -> T:
    """A cancellation comes through when the server has answered: what it did is done before what is asked next."""
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # nobody is left to hear it
        raise


def _read(found: Iterable[bytes]) -> list[Turn]:
    turns = []
    for one in found:
        with suppress(Unreadable):  # its neighbours are sound
            turns.append(envelope.opened(one[HEAD_CHARS:]))
    return turns


def _turns(owner: str, session: str) -> str:
    return f"{PREFIX}turns{APART}{owner}{APART}{session}"


def _owned(owner: str | None) -> str:
    return f"{PREFIX}all" if owner is None else f"{PREFIX}of{APART}{owner}"


def _size(turn: bytes) -> int:
    return int(turn[ID_CHARS:HEAD_CHARS])


@store("redis")
@asynccontextmanager
async def opened(options: StoreOptions) -> AsyncIterator[Store]:
    """The server need not be there yet."""
    pool: Any = client.BlockingConnectionPool.from_url(
        options.url,
        max_connections=CONNECTIONS,
        timeout=ANSWER_S,
        socket_timeout=ANSWER_S,
        socket_connect_timeout=ANSWER_S,
        retry=Retry(ConstantBackoff(AGAIN_S), 1),  # a connection that was idle may be stale
    )
    server = client.Redis.from_pool(pool)
    try:
        yield Redis(options, server)
    finally:
        await server.aclose()
