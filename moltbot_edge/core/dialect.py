"""A wire format's seam: pure functions from bytes to values and back. Each lives in one file of `dialects/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from moltbot_edge.core.errors import GatewayError
from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.prompt import Prompt
from moltbot_edge.core.verdict import Impression


class ReplyReader(Protocol):
    """Follows one reply's bytes as they pass, and keeps what the reply says of itself."""

    usage: Usage | None
    timings: Timings | None

    def feed(self, data: bytes) -> None:
        """*data* is whole events of a stream, or any piece of a whole reply."""
        ...

    def end(self) -> None:
        """All of a whole reply has been fed."""
        ...


class ReplyObserver(Protocol):
    """Follows one reply as a `ReplyReader` does, and looks closer: only where somebody learns from it.

    *reply_id* is the upstream's, as far as one was said.
    """

    reply_id: str | None

    def feed(self, data: bytes) -> None: ...

    def impression(self) -> Impression | None:
        """Of all that was fed; None of what is no chat, or too large to be judged."""
        ...


class Dialect(Protocol):
    """*paths* maps the path that callers use to the path below an upstream's base URL."""

    name: str
    paths: Mapping[str, str]

    def credentials(self, api_key: str) -> tuple[str, str]:
        """The header that carries an upstream's key."""
        ...

    def prompt(self, body: bytes | bytearray) -> Prompt:
        """What *body* asks. It is JSON; one that is no request of this dialect asks nothing."""
        ...

    def reader(self, streamed: bool) -> ReplyReader: ...

    def observer(self, streamed: bool) -> ReplyObserver: ...

    def error(self, error: GatewayError) -> bytes:
        """The error object of a whole reply."""
        ...

    def error_event(self, error: GatewayError) -> bytes:
        """What ends a stream that has begun, the stream's own last words included."""
        ...

    def ping(self) -> bytes:
        """What keeps a silent stream's connection open and no client takes for content."""
        ...
