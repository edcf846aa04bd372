"""The same dialect on both sides and nobody looks inside: the bytes pass.

A stream passes in whole events, so that it can end cleanly wherever the upstream breaks off; a whole reply is
held until it is known to be whole, up to a limit, so that a broken one is an error and not half an answer.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from moltbot_edge.core import ndjson, sse
from moltbot_edge.core.dialect import NDJSON, Mender, ReplyReader
from moltbot_edge.core.errors import InvalidReply, TruncatedReply
from moltbot_edge.gateway.output import Output
from moltbot_edge.upstream.wire import Reply

# Hop by hop (RFC 9110, 7.6.1), ours to say, or about another origin than ours.
NOT_PASSED = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"content-length", b"date", b"server", b"set-cookie", b"alt-svc",
        b"strict-transport-security", b"access-control-allow-origin", b"access-control-allow-credentials",
        b"access-control-allow-methods", b"access-control-allow-headers", b"access-control-expose-headers",
    }
)  # fmt: skip
SAID_BY_OUTPUT = NOT_PASSED | {b"content-type", b"cache-control", b"x-accel-buffering"}

# What stands in a reply in place of an answer although the status says 200: some servers send the head too early.
AN_ERROR = re.compile(rb'(?:data: ?)?\{\s*"error"\s*:\s*["{]|event: error\b|error: ')
STREAMS = (b"text/event-stream", NDJSON.encode())
OPEN, SHUT = frozenset({b"{", b"["}), frozenset({b"}", b"]"})
SHOWN_BYTES = 200

Headers = list[tuple[bytes, bytes]]


def is_stream(reply: Reply) -> bool:
    """What it is, whatever was asked for."""
    return (reply.header(b"content-type") or b"").startswith(STREAMS)


def relay(
    reply: Reply,
    output: Output,
    reader: ReplyReader,
    own: Headers,
    answers: Callable[[], bool],
    *,
    streamed: bool,
    hold_bytes: int,
    event_bytes: int,
    any_kind: bool = False,
    mending: Callable[[bytes], Mender | None] | None = None,
) -> Awaitable[None]:
    """Pass *reply* to *output*; *reader*, of a stream or of a whole, sees it go by. *own* are the gateway's headers,
    *streamed* is what `is_stream` says.

    *answers* is called before the first byte of an answer goes out: of a stream at its first event, as some upstreams
    send the head long before it. Where it gives False nothing is written, and whoever says so cancels this.
    *any_kind*: the reply need not be JSON. *mending* gives, of what comes first, what puts in what it lacks.

    Raises what `Reply.pump` raises, and `InvalidReply` for an event longer than *event_bytes* and for what is no
    answer although its status says so; whether anything reached the caller before that, *output* knows.
    """
    if streamed:
        headers = [pair for pair in reply.headers if pair[0] not in SAID_BY_OUTPUT]
        return _events(reply, output, reader, headers + own, answers, event_bytes, mending)
    headers = [pair for pair in reply.headers if pair[0] not in NOT_PASSED]
    return _whole(reply, output, reader, headers + own, answers, hold_bytes, event_bytes, any_kind, mending)


async def _events(
    reply: Reply,
    output: Output,
    reader: ReplyReader,
    headers: Headers,
    answers: Callable[[], bool],
    event_bytes: int,
    mending: Callable[[bytes], Mender | None] | None,
) -> None:
    lines = (reply.header(b"content-type") or b"").startswith(STREAMS[1])
    parted, end = (ndjson.parted, b"\n") if lines else (sse.parted, b"\n\n")
    held = b""  # the beginning of an event
    refused: bytes | None = None
    begun = False
    mender: Mender | None = None
    feed = reader.feed
    write: Callable[[bytes], bool]

    def first(data: bytes) -> bool:
        nonlocal write, refused, begun, mender
        if not begun:
            if AN_ERROR.match(data):
                refused = data
                return False
            if not answers():
                return False
            begun = True
            output.begin_stream(headers)
        if mending is not None:
            if data.startswith(b":"):
                return output.write(data)  # a comment shows nothing: what follows does
            mender = mending(data)
            if mender is not None:
                write = mended
                return mended(data)
        write = output.write_on
        return output.write(data)

    def mended(data: bytes) -> bool:
        assert mender is not None
        return output.write(mender.mend(data))

    write = first

    def sink(data: bytes) -> bool:
        nonlocal held
        if held or not data.endswith(end):
            data, held = parted(held + data)
            if not data:
                return len(held) <= event_bytes
        feed(data)
        return write(data)

    while not await reply.pump(sink):
        if refused is not None:
            raise InvalidReply(f"{reply.upstream} began its answer with an error: {_shown(refused)}")
        if len(held) > event_bytes:
            raise InvalidReply(f"{reply.upstream} sent an event longer than {event_bytes} bytes")
        await output.drained()
    if held:  # no blank line after the last event: passed as it came
        feed(held)
        write(held)
        if refused is not None:
            raise InvalidReply(f"{reply.upstream} began its answer with an error: {_shown(refused)}")
    if not output.answering:
        raise TruncatedReply(f"{reply.upstream} sent a stream without a single event")
    output.finish(b"" if mender is None else mender.end())


async def _whole(
    reply: Reply,
    output: Output,
    reader: ReplyReader,
    headers: Headers,
    answers: Callable[[], bool],
    hold_bytes: int,
    event_bytes: int,
    any_kind: bool,
    mending: Callable[[bytes], Mender | None] | None,
) -> None:
    body = reply.whole()
    if body is not None:
        _check(reply, body, any_kind)
        reader.feed(body)
        reader.end()
        if answers():
            output.whole(reply.status, headers, body if mending is None else _mended(body, mending))
        return
    held: list[bytes] = []
    size = 0
    answering = False

    def sink(data: bytes) -> bool:
        nonlocal size, answering
        reader.feed(data)
        if answering:
            return output.write(data)
        held.append(data)
        size += len(data)
        if output.begun:  # pings have begun a stream, where a whole reply is one event
            return size <= event_bytes
        if size <= hold_bytes:
            return True
        if not answers():
            return False
        answering = True
        output.begin(reply.status, headers, _length(reply))
        return output.write(b"".join(held))

    while not await reply.pump(sink):
        if not answering:
            raise InvalidReply(f"{reply.upstream} sent no stream, but a reply longer than {event_bytes} bytes")
        await output.drained()
    body = b"" if answering else b"".join(held)
    if not answering:
        _check(reply, body, any_kind)
    reader.end()
    if answering:
        output.finish()
    elif answers():
        output.whole(reply.status, headers, body if mending is None else _mended(body, mending))


def _mended(body: bytes, mending: Callable[[bytes], Mender | None]) -> bytes:
    mender = mending(body)
    return body if mender is None else mender.mend(body)


def _check(reply: Reply, body: bytes, any_kind: bool) -> None:
    """Nearly every reply is JSON; a captive portal's is not, nor one that was cut."""
    if any_kind and b"json" not in (reply.header(b"content-type") or b""):
        if (reply.header(b"content-type") or b"").startswith(b"text/html"):
            raise InvalidReply(f"{reply.upstream} answered {reply.status} with a page: {_shown(body)}")
        return
    if not (body[:1] in OPEN and body[-1:] in SHUT):
        stripped = body.strip()
        if not (stripped[:1] in OPEN and stripped[-1:] in SHUT):
            raise InvalidReply(f"{reply.upstream} answered {reply.status} with what is no JSON: {_shown(body)}")
    if AN_ERROR.match(body):
        raise InvalidReply(f"{reply.upstream} answered {reply.status} with an error: {_shown(body)}")


def _shown(body: bytes) -> str:
    return ascii(body[:SHOWN_BYTES].decode("utf-8", "replace"))


def _length(reply: Reply) -> int | None:
    said = reply.header(b"content-length")
    return int(said) if said is not None and said.isdigit() else None
