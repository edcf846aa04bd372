"""Kept conversations, as the gateway has them: the store, opened when the first request wants one, and who has which.

Not one request's share of a session: that is a `conversation`. Imports little: most requests ask for no session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final

import msgspec

from moltbot_edge.core.dialect import Operation
from moltbot_edge.core.errors import InvalidRequest, SessionTooLarge, StoreError
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.room import Room, Share
from moltbot_edge.metrics.catalogue import Metrics

if TYPE_CHECKING:  # imported at the first request that asks for a session
    from moltbot_edge.core.chat import ChatRequest
    from moltbot_edge.core.session import Kept
    from moltbot_edge.core.store import Store
    from moltbot_edge.gateway.conversation import Conversation
    from moltbot_edge.gateway.unkept import Unkept

log = logging.getLogger(__name__)

COPIES: Final = 4  # of what was said: as values, as the router reads it, as it is sent, and on its way


class SessionLimits(msgspec.Struct, frozen=True):
    """Defaults and their reasons are in `config.schema.Sessions`. With 0 for *wait_s* nobody waits.

    *store_bytes* is 0 where the store has a limit of its own. *keeps_unasked*: also what nobody said to keep, where
    callers of its dialect expect that. *answers_unseen*: also in a session that cannot be read.
    """

    wait_s: float
    session_bytes: int
    store_bytes: int
    keeps_unasked: bool
    at_work_bytes: int
    memory_wait_s: float
    waiters: int
    answers_unseen: bool


_Ends = tuple[Share, AbstractAsyncContextManager[None] | None]  # of memory; and the session, where nobody else has it


class _Open:
    """As a generator would be, without what that costs at each turn."""

    __slots__ = ("_ends", "_opens", "_request")

    def __init__(self, opens: Callable[[Request], Awaitable[_Ends | None]], request: Request) -> None:
        self._opens = opens
        self._request = request
        self._ends: _Ends | None = None

    async def __aenter__(self) -> None:
        self._ends = await self._opens(self._request)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._ends is None:
            return None
        share, held = self._ends
        self._request.conversation = None
        share.end()
        return None if held is None else await held.__aexit__(kind, error, trace)


class Sessions:
    """*opens* makes the store, and *where* says where it keeps what; *clock* is seconds since 1970, *now* is
    `time.monotonic`, *noise* gives so many random bytes.
    """

    def __init__(
        self,
        opens: Callable[[], AbstractAsyncContextManager[Store]],
        where: str,
        limits: SessionLimits,
        metrics: Metrics,
        clock: Callable[[], float],
        now: Callable[[], float],
        noise: Callable[[int], bytes],
    ) -> None:
        self.where = where
        self._limits = limits
        self._opens = opens
        self._metrics = metrics
        self._now = now
        self._clock = clock
        self._noise = noise
        self._ends = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._room = Room(limits.at_work_bytes, limits.memory_wait_s, limits.waiters)
        self._store: Unkept | None = None
        self._unopened: StoreError | None = None

    async def __aenter__(self) -> None:
        await self._ends.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store = None
        await self._ends.__aexit__(kind, error, trace)

    @property
    def trouble(self) -> StoreError | None:
        """What is wrong with the store, as far as anybody has asked it."""
        return self._unopened if self._store is None else self._store.trouble

    def read(self) -> None:
        """Sets the gauges that change without anybody's doing."""
        metrics = self._metrics
        metrics.session_store_well.cell().set(float(self.trouble is None))
        metrics.session_store_limit_bytes.cell().set(self._limits.store_bytes)
        metrics.session_memory_bytes.cell().set(self._room.held_bytes)
        metrics.session_memory_limit_bytes.cell().set(self._room.limit_bytes)
        size = None if self._store is None else self._store.size_bytes
        metrics.session_store_bytes.cell().set(size or 0)

    async def store(self) -> Unkept:
        """Raises `StoreError`."""
        if self._store is None:
            from moltbot_edge.gateway.unkept import held_back
            from moltbot_edge.gateway.watched_store import watched

            async with self._opening:
                if self._store is None:
                    opening = held_back(watched(self._opens, self.where, self._metrics, self._now))
                    try:
                        self._store = await self._ends.enter_async_context(opening)
                    except StoreError as error:
                        if self._unopened is None:
                            log.error("%s; until that is well, no session goes on", error.message)
                        self._unopened = error
                        raise
                    self._unopened = None
        return self._store

    def new_id(self, after: str | None = None) -> str:
        from moltbot_edge.core.session import CHANCE_BYTES, made_id

        return made_id(self._clock(), self._noise(CHANCE_BYTES), after)

    def new_name(self) -> str:
        """For a session that nobody named."""
        from moltbot_edge.core.session import made_name

        return made_name(self.new_id())

    def wants(self, request: Request) -> bool:
        """Whether *request* asks for a conversation to be kept, where one can be, or counted."""
        head = request.head
        if not head.names_session and not (head.keeps and (self._limits.keeps_unasked or not head.unasked)):
            return False
        operation = request.dialect.operations.get(request.path)
        return operation is Operation.CHAT or (operation is Operation.COUNT and head.names_session)

    def conversation(self, request: Request) -> AbstractAsyncContextManager[None]:
        """While it is open, *request* has its session for itself, and the whole conversation for its body.

        One that says after which turn it goes on has no need to be alone.

        Raises `InvalidRequest`, `UnknownSession` where it goes on after what is not there, `SessionBusy`,
        `SessionTooLarge`, and `StoreError` where it has to know what was said before and cannot; what cannot be read of
        a session that was only named is left out, which the reply says. What goes on with nothing is only passed on
        where it cannot be kept.
        """
        return _Open(self._opened, request)

    async def _opened(self, request: Request) -> _Ends | None:
        """None: nothing of it is kept."""
        from moltbot_edge.core.session import checked_name
        from moltbot_edge.gateway.conversation import read

        if request.dialect.operations[request.path] is Operation.COUNT:
            request.head = msgspec.structs.replace(request.head, appends=False)
        head = request.head
        if head.session is not None:
            checked_name(head.session, head.asked_by)
        chat = store = None
        try:
            chat = read(request)
            if not chat.loads_only and (head.names_session or not chat.vital):
                store = self._store or await self.store()
        except (InvalidRequest, StoreError):
            if head.names_session:
                raise
        if chat is None or store is None:
            return None
        size, request.body = len(request.body), b""  # said by *chat* from here on
        held: AbstractAsyncContextManager[None] | None = None
        name, unseen = head.session, False
        may_be_unseen = self._limits.answers_unseen and head.may_begin and not chat.refers
        if name is None:
            name = self.new_name()
        elif head.names_session and head.appends and head.parent is None:  # else no other branch is waited for
            held = store.held(request.key, name, self._limits.wait_s)
            try:
                await held.__aenter__()
            except StoreError:
                if not may_be_unseen:
                    raise
                held = None  # not alone, then; its turn goes where the session stands by that time
        try:
            await self._room.enter()
            before, kept = 0, None
            try:
                if head.session is not None and (kept := await store.load(request.key, name)) is not None:
                    before = kept.size_bytes
            except StoreError:
                if (head.names_session or chat.refers) and not may_be_unseen:
                    self._room.entered(0, 0)
                    raise
                kept, unseen = store.waiting(request.key, name), True
            except BaseException:
                self._room.entered(0, 0)
                raise
            # What is new is kept at the end; its body has had room.
            share = self._room.entered(COPIES * before + (COPIES - 1) * size, size)
            try:
                request.conversation = self._joined(store, request, name, kept, chat, share)
                request.conversation.unseen = unseen and head.names_session
            except BaseException:
                share.end()
                raise
        except BaseException as error:
            if held is not None:
                await held.__aexit__(type(error), error, error.__traceback__)
            raise
        return share, held

    @asynccontextmanager
    async def loaded(self, owner: str, name: str) -> AsyncIterator[Kept | None]:
        """For who only looks at it: as long as it is open, it is one of those at work."""
        store = await self.store()
        await self._room.enter()
        size = 0
        try:
            kept = await store.load(owner, name)
            size = 0 if kept is None else kept.size_bytes
        finally:
            share = self._room.entered(size, 0)
        try:
            yield kept
        finally:
            share.end()

    def _joined(
        self, store: Store, request: Request, name: str, kept: Kept | None, chat: ChatRequest, share: Share
    ) -> Conversation:
        from moltbot_edge.gateway.conversation import Conversation, goes_on

        head, limit = request.head, self._limits.session_bytes
        if kept is not None and kept.size_bytes >= limit:
            if head.names_session or chat.refers:
                raise SessionTooLarge(
                    f"the session {name!r} has {kept.size_bytes} bytes, and {limit} at most (sessions.session_mb): "
                    "begin another one, or fork this one at an earlier turn",
                    param=head.asked_by,
                )
            kept = None
        kept, whole = goes_on(head, name, kept, chat)
        if head.session is not None and not head.names_session and not whole.recognised:
            name, kept = self.new_name(), None  # it is not what was said there
        leaf = None if kept is None else kept.stands
        conversation = Conversation(
            store,
            request,
            name,
            kept,
            whole,
            self.new_id(leaf),
            self._clock(),
            self._metrics,
        )
        conversation.share = share
        request.body = conversation.body()
        return conversation
