"""What a caller puts into a session without a question: messages, what it notes on it, what it takes out.

Each is one more turn: nothing that is kept is ever changed. What was taken out is not said again, to nobody; its bytes
leave with the session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from moltbot_edge.core.chat import Message
from moltbot_edge.core.errors import UnknownSession
from moltbot_edge.core.items import removed
from moltbot_edge.core.session import NOTHING, Kept, Turn
from moltbot_edge.core.store import Store
from moltbot_edge.gateway.archive import WAIT_S
from moltbot_edge.gateway.sessions import Sessions

DIALECT: Final = "openai-responses"


class Entries:
    """*loaded* gives a session, and keeps room for it while it is open; *clock* is seconds since 1970."""

    def __init__(
        self,
        sessions: Sessions,
        loaded: Callable[[str, str], AbstractAsyncContextManager[Kept | None]],
        clock: Callable[[], float],
    ) -> None:
        self._sessions = sessions
        self._loaded = loaded
        self._clock = clock

    async def begin(self, owner: str, name: str, messages: Sequence[Message], metadata: Mapping[str, str]) -> Turn:
        turn = self._turn(None, tuple(messages), metadata)
        await (await self._sessions.store()).append(owner, name, turn, None)
        return turn

    async def add(
        self,
        owner: str,
        name: str,
        messages: Sequence[Message] = (),
        metadata: Mapping[str, str] | None = None,
        removes: Callable[[Kept], Sequence[str]] = lambda kept: (),
    ) -> list[Turn]:
        """All that there is then. *removes* says what is to be taken out of what there is.

        Raises `UnknownSession`, `SessionBusy`, and what *removes* raises.
        """
        async with self._held(owner, name) as (store, kept):
            turn = self._turn(kept.leaf, tuple(messages), metadata, tuple(removes(kept)))
            await store.append(owner, name, turn, kept.stands)
            return [*kept.turns, turn]

    async def remove(self, owner: str, name: str, turn: str, check: Callable[[Kept], None]) -> None:
        """Take the turn *turn* out; the session with it, where nothing else is left. Raises what *check* raises."""
        async with self._held(owner, name) as (store, kept):
            check(kept)
            gone = {turn, *removed(kept.turns)}
            if all(one.id in gone for one in kept.turns if one.answered or one.messages or one.metadata is not None):
                await store.delete(owner, name)
            else:
                await store.append(owner, name, self._turn(kept.leaf, removed=(turn,)), kept.stands)

    async def delete(self, owner: str, name: str) -> None:
        store = await self._sessions.store()
        async with store.held(owner, name, WAIT_S):
            if not await store.delete(owner, name):
                raise unknown(name)

    @asynccontextmanager
    async def _held(self, owner: str, name: str) -> AsyncIterator[tuple[Store, Kept]]:
        store = await self._sessions.store()
        async with store.held(owner, name, WAIT_S), self._loaded(owner, name) as kept:
            if kept is None:
                raise unknown(name)
            yield store, kept

    def _turn(
        self,
        leaf: str | None,
        messages: tuple[Message, ...] = (),
        metadata: Mapping[str, str] | None = None,
        removed: tuple[str, ...] = (),
    ) -> Turn:
        return Turn(
            id=self._sessions.new_id(leaf),
            at=self._clock(),
            parent=leaf,
            messages=messages,
            reply=NOTHING,
            dialect=DIALECT,
            metadata=metadata,
            removed=removed,
        )


def unknown(name: str) -> UnknownSession:
    return UnknownSession(f"Conversation with id {name[:256]!r} not found.")
