"""A wire format's seam: pure functions from bytes to values and back. Each lives in one file of `dialects/`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from moltbot_edge.core.errors import GatewayError
from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.head import Head, read_head
from moltbot_edge.core.prompt import Prompt
from moltbot_edge.core.verdict import Impression

if TYPE_CHECKING:  # translation alone needs them, and a board that runs models
    from moltbot_edge.core.chat import ChatRequest
    from moltbot_edge.core.embedding import Embedded, EmbedRequest
    from moltbot_edge.core.lease import Progress
    from moltbot_edge.core.reply import Event

EVENT_STREAM = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"


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


class EventReader(Protocol):
    """One reply's bytes -> its events. Cut anywhere: the same events come, in the same order."""

    def feed(self, data: bytes) -> list[Event]:
        """*data* is any piece of a stream, or of a whole reply. Raises `InvalidReply` for what is none."""
        ...

    def end(self) -> list[Event]:
        """The upstream's last byte has come. Raises `TruncatedReply` where the reply is not whole."""
        ...


class EventWriter(Protocol):
    """Events -> one reply's bytes in the caller's dialect, closed in order, with all that its clients demand."""

    def write(self, events: Sequence[Event]) -> bytes:
        """What can be sent now: nothing, while a whole reply is gathered."""
        ...

    def end(self) -> bytes:
        """The rest, the stream's own last words included."""
        ...

    def fail(self, error: GatewayError) -> bytes:
        """What ends a stream that has begun, in place of `end`."""
        ...


class Place(msgspec.Struct, frozen=True):
    """Where a reply is kept: as *turn* of *session*; None: it only was read. *after* is the turn that the caller named
    to go on after.
    """

    session: str
    turn: str | None
    after: str | None = None


class ReplyHead(msgspec.Struct, frozen=True):
    """What a writer says of a reply: an *id* of ours, seconds since 1970, the model's name as the caller used it.

    *elapsed_s* tells how long ago the request came, for a dialect whose replies say so. *prompt_tokens* are estimated,
    for where the upstream counts none; *left_out_tokens* are none of them: the conversation is longer than what it
    takes. A dialect whose replies can say where they are kept has the *place*.
    """

    id: str
    created: int
    model: str
    elapsed_s: Callable[[], float] | None = None
    prompt_tokens: int = 0
    place: Place | None = None
    left_out_tokens: int = 0


class Mender(Protocol):
    """Puts in what a relayed reply lacks."""

    def mend(self, data: bytes) -> bytes:
        """*data* is whole events of a stream, or a whole reply."""
        ...

    def end(self) -> bytes:
        """What is lacking at a stream's end."""
        ...


class Outgoing(msgspec.Struct, frozen=True):
    """A request as an upstream gets it. *path* is below its base URL; *dropped* names the fields that were left out."""

    path: str
    body: bytes
    dropped: tuple[str, ...] = ()


class ChatCodec(Protocol):
    """A dialect's translation: to the canonical chat and back. Pure. Imported at the first request that needs it."""

    def read_request(self, path: str, body: bytes | bytearray) -> ChatRequest:
        """Raises `InvalidRequest` with the path of the field at fault in *param*: ``messages[2].content``."""
        ...

    def write_request(self, request: ChatRequest) -> Outgoing:
        """Raises `InvalidRequest` for a wish that this dialect has no words for and that would change the answer."""
        ...

    def event_reader(self, streamed: bool) -> EventReader: ...

    def event_writer(self, request: ChatRequest, head: ReplyHead, path: str) -> EventWriter:
        """*request* was read by this codec at *path*; whether to stream, it says."""
        ...

    def complaint(self, body: bytes) -> str | None:
        """The message in an upstream's error, whatever its status; None where it is none of this dialect's."""
        ...


class EmbedCodec(Protocol):
    """As `ChatCodec`, for texts -> vectors."""

    def read_request(self, path: str, body: bytes | bytearray) -> EmbedRequest: ...

    def write_request(self, request: EmbedRequest) -> Outgoing: ...

    def read_reply(self, body: bytes) -> Embedded:
        """Raises `InvalidReply`."""
        ...

    def write_reply(self, reply: Embedded, request: EmbedRequest, head: ReplyHead, path: str) -> bytes:
        """*request* was read by this codec at *path*."""
        ...


class Operation(StrEnum):
    """What a path is for, where another dialect has it too. Any other passes only where the dialect is the same."""

    CHAT = "chat"
    EMBED = "embed"
    COUNT = "count"  # tokens of a request


class Unread:
    """Of a reply into which nobody looks."""

    usage: Usage | None = None
    timings: Timings | None = None
    reply_id: str | None = None

    def feed(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def impression(self) -> Impression | None:
        return None


class Dialect(Protocol):
    """*paths* maps the path that callers use to the path below an upstream's base URL, *operations* to what it is for.

    *needed* are headers without which an upstream does not answer, by their names in lower case; a caller's own or the
    configuration's stand in their place. A plug-in's class inherits from this one: what has a body here is what a
    dialect does that is never translated.
    """

    name: str
    paths: Mapping[str, str]
    operations: Mapping[str, Operation] = {}
    stream_type: str = EVENT_STREAM  # or `NDJSON`: a line is an event
    any_kind: Collection[str] = ()  # the paths whose whole replies need not be JSON
    needed: Mapping[str, str] = {}
    beside: str | None = None  # a dialect in which whoever speaks this one is asked for what this one has no path for
    id_header: str | None = None  # where a client looks for what to say of a request that went wrong

    def head(self, path: str, content_type: bytes, body: bytes | bytearray) -> Head:
        """Raises `InvalidRequest` that names the field at fault. Called for every request."""
        return read_head(body)

    def foreign(self, body: bytes | bytearray, model: str) -> bool:
        """Whether *body* brings what an upstream would refuse as another one's: it then is translated all the same.

        *model* is the upstream's own. Called for every request.
        """
        return False

    @abstractmethod
    def credentials(self, api_key: str) -> tuple[str, str]:
        """The header that carries an upstream's key."""
        ...

    def prompt(self, body: bytes | bytearray) -> Prompt:
        """What *body* asks. It is JSON; one that is no request of this dialect asks nothing."""
        return Prompt()

    def reader(self, streamed: bool) -> ReplyReader:
        return Unread()

    def observer(self, streamed: bool) -> ReplyObserver:
        return Unread()

    def mender(self, path: str, streamed: bool, first: bytes, head: Callable[[], ReplyHead]) -> Mender | None:
        """For a reply that lacks what this dialect's clients demand; None where nothing is lacking.

        *first* is a stream's first events, or a whole reply. Where an upstream's was right once, nobody asks again.
        """
        return None

    @abstractmethod
    def error(self, error: GatewayError) -> bytes:
        """The error object of a whole reply."""
        ...

    @abstractmethod
    def error_event(self, error: GatewayError) -> bytes:
        """What ends a stream that has begun, the stream's own last words included."""
        ...

    @abstractmethod
    def ping(self) -> bytes:
        """What keeps a silent stream's connection open and no client takes for content."""
        ...

    def progress(self, progress: Progress, model: str) -> bytes:
        """An event that tells who asked for it how far it has come; none, where a dialect has no place for it."""
        return b""

    def codec(self) -> ChatCodec:
        """Imports what it needs: a relay needs none of it. Asked for only where a path's operation is `CHAT`."""
        raise TypeError(f"{self.name} is not translated")

    def embed_codec(self) -> EmbedCodec:
        """As `codec`, where a path's operation is `EMBED`."""
        raise TypeError(f"{self.name} has no embeddings to translate")

    def count_reply(self, tokens: int) -> bytes:
        """A whole reply to a request whose operation is `COUNT`, and that the gateway counted."""
        raise TypeError(f"{self.name} does not count tokens")
