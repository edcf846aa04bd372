"""The caller's side of an exchange: begun once, kept open with pings while nothing comes, ended cleanly."""

from __future__ import annotations

from collections.abc import Callable

from moltbot_edge.core import sse
from moltbot_edge.core.dialect import NDJSON, Dialect
from moltbot_edge.core.errors import TOO_LONG_AS_VENDORS_SAY, GatewayError, PromptTooLong, UpstreamRefused
from moltbot_edge.gateway.caller import Caller, HeaderLines, Request
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.upstream.ticker import TICK_S

JSON = (b"content-type", b"application/json")
STREAM: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx and its kin would gather the events
)


class Output:
    """*answering* is True once a byte of an answer has gone out: from then on no other upstream may be asked.

    *begun* may be true before that: pings have begun a stream, and whatever comes has to be events. *on_fail* writes
    what ends a stream that a translation has begun.
    """

    def __init__(
        self, caller: Caller, request: Request, metrics: Metrics, *, ping_after_s: float, client_stall_s: float
    ) -> None:
        self.answering = False
        self._caller = caller
        self.write_on = caller.write  # as `write`, once answering: a stream's events go this way
        self._request = request
        self._metrics = metrics
        self._ping_after_s = ping_after_s
        self._client_stall_s = client_stall_s
        self.begun = False
        self.on_fail: Callable[[GatewayError], bytes] = request.dialect.error_event
        self._streamed = False
        self._ended = False
        self._writes_seen = 0  # at the last tick
        self._silent_s = 0.0
        self._stalled_s: float | None = None
        self.status = 0

    def begin_stream(self, headers: HeaderLines = ()) -> None:
        if not self.begun:
            self.begun = self._streamed = True
            self.status = 200
            kind = (b"content-type", self._request.dialect.stream_type.encode())
            self._caller.start(200, (kind, *STREAM, *headers), None)

    def begin(self, status: int, headers: HeaderLines, length: int | None) -> None:
        self.begun = True
        self.status = status
        self._caller.start(status, headers, length)

    def write(self, data: bytes) -> bool:
        """A piece of the answer. False: wait for `drained` before the next."""
        if not self.answering:
            self.answering = True
            self._request.drop_body()
        return self._caller.write(data)

    def progress(self, data: bytes) -> None:
        """An event that is no part of an answer. It begins a stream, as a ping does."""
        if data and not self._ended and not self.answering and (self._streamed or not self.begun):
            self._begin_early()
            self._caller.write(data)

    async def drained(self) -> None:
        self._stalled_s = 0.0
        try:
            await self._caller.drained()
        finally:
            self._stalled_s = None

    def whole(self, status: int, headers: HeaderLines, body: bytes) -> None:
        """A complete answer in one piece; as one event where pings have begun a stream already."""
        self.answering = True
        self._request.drop_body()
        self._ended = True
        if self.begun:
            if self._request.dialect.stream_type == NDJSON:
                self._caller.finish(body.replace(b"\n", b" ") + b"\n")
            else:
                self._caller.finish(sse.event(body.replace(b"\n", b"\ndata: ")))
            return
        self.begin(status, headers, len(body))
        self._caller.finish(body)

    def finish(self, data: bytes = b"") -> None:
        """End, with *data* as the last piece of the answer."""
        if data and not self.answering:
            self.answering = True
            self._request.drop_body()
        self._ended = True
        self._caller.finish(data)

    def fail(self, error: GatewayError) -> None:
        """End with *error* in the caller's dialect, as far as what was sent before allows."""
        if self._ended:
            return
        self._ended = True
        if isinstance(error, UpstreamRefused) and error.too_long:
            error = _as_vendors_say(self._request.dialect, error)
        if not self.begun:
            self.status = write_error(self._caller, self._request.dialect, error)
        elif self._streamed:
            self._caller.finish(self.on_fail(error))
        else:
            self._caller.cut()

    def _begin_early(self) -> None:
        """Who will answer is not known yet; what is kept is."""
        conversation = self._request.conversation
        self.begin_stream(() if conversation is None else conversation.headers)

    def tick(self) -> None:
        if self._ended:
            return
        if self._stalled_s is not None:
            self._stalled_s += TICK_S
            if self._stalled_s >= self._client_stall_s:
                self._ended = True
                self._caller.cut()
            return
        if self._writes_seen != self._caller.writes:
            self._writes_seen = self._caller.writes
            self._silent_s = 0.0
            return
        self._silent_s += TICK_S
        if self._request.head.stream and self._silent_s >= self._ping_after_s and (self._streamed or not self.begun):
            self._silent_s = 0.0
            self._begin_early()
            self._metrics.pings.cell().add()
            self._caller.write(self._request.dialect.ping())
            self._writes_seen = self._caller.writes


def _as_vendors_say(dialect: Dialect, refused: UpstreamRefused) -> GatewayError:
    """Programs shorten a conversation when they know the words; a llama-server has others."""
    if any(words in refused.body for words in TOO_LONG_AS_VENDORS_SAY):
        return refused
    said = dialect.codec().complaint(refused.body) if refused.body else None
    return PromptTooLong(said or refused.message)


def write_error(caller: Caller, dialect: Dialect, error: GatewayError) -> int:
    """A whole reply that says *error*; gives its status. An upstream's own error passes as it was said.

    Not where it refuses our key: the caller would look for the fault in its own. What is no JSON is said in our words.
    """
    status, kind, body = error.status, JSON, dialect.error(error)
    if isinstance(error, UpstreamRefused) and error.answered not in (401, 403):
        status = error.answered
        if b"json" in error.content_type and error.body.lstrip()[:1] == b"{":  # some say so of a page
            kind, body = (b"content-type", error.content_type), error.body
    headers = [kind]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
    caller.start(status, headers, len(body))
    caller.finish(body)
    return status
