"""What the gateway needs of a server: the seam between an exchange and a socket. No HTTP here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import msgspec

from moltbot_edge.core.dialect import Dialect
from moltbot_edge.core.head import Head
from moltbot_edge.core.prompt import Prompt

if TYPE_CHECKING:  # imported at the first request that asks for a session
    from moltbot_edge.gateway.conversation import Conversation

HeaderLines = Iterable[tuple[bytes, bytes]]


class Caller(Protocol):
    """One reply on its way out. A caller that leaves cancels the task that serves it. *writes* counts them."""

    writes: int

    def start(self, status: int, headers: HeaderLines, length: int | None) -> None:
        """The head; it leaves with the first write. *length* None: in chunks, as long as it takes."""
        ...

    def write(self, data: bytes) -> bool:
        """Never blocks. False: more than the high-water mark is unsent, wait for `drained`."""
        ...

    async def drained(self) -> None: ...

    def finish(self, data: bytes = b"") -> None: ...

    def cut(self) -> None:
        """Close in the middle: how HTTP says that a reply is not whole."""
        ...


class Request(msgspec.Struct):
    """What a caller asks. *forwarded* are header lines for the upstream, each with its CRLF; *key* is whose key it is.
    *form* is the type of a body in parts, its boundary included; empty where the body is JSON.

    With a *conversation* the body is what the router reads of the whole of it.

    The body is let go once no other upstream will need it: `drop_body`.
    """

    dialect: Dialect
    path: str
    head: Head
    body: bytes | bytearray
    forwarded: bytes = b""
    on_drop: Callable[[], None] | None = None
    key: str = ""
    form: bytes = b""
    conversation: Conversation | None = None
    _prompt: Prompt | None = None

    def prompt(self) -> Prompt:
        """Read once, and before the body is dropped."""
        if self._prompt is None:
            conversation = self.conversation
            self._prompt = self.dialect.prompt(self.body) if conversation is None else conversation.prompt()
        return self._prompt

    def drop_body(self) -> None:
        """May be called again: what it holds is given back once."""
        self.body = b""
        if self.conversation is not None:
            self.conversation.drop()
        on_drop, self.on_drop = self.on_drop, None
        if on_drop is not None:
            on_drop()
