"""The same dialect on both sides and nobody looks inside: the bytes pass.

A stream passes in whole events, so that it can end cleanly wherever the upstream breaks off; a whole reply is
held until it is known to be whole, up to a limit, so that a broken one is an error and not half an answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from moltbot_edge.core import sse
from moltbot_edge.core.dialect import ReplyReader
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

Headers = list[tuple[bytes, bytes]]


def is_stream(reply: Reply) -> bool:
    """What it is, whatever was asked for."""
    return (reply.header(b"content-type") or b"").startswith(b"text/event-stream")


def relay(
    reply: Reply,
    output: Output,
    reader: ReplyReader,
    own: Headers,
    on_event: Callable[[], None],
    *,
    hold_bytes: int,
    event_bytes: int,
) -> Awaitable[None]:
    """Pass *reply* to *output*; *reader*, of a stream or of a whole, sees it go by. *own* are the gateway's headers.

    *on_event* is called at a stream's first event: some upstreams send the head long before it.

    Raises what `Reply.pump` raises, and `InvalidReply` for an event longer than *event_bytes*; whether anything
    reached the caller before that, *output* knows.
    """
    if is_stream(reply):
        headers = [pair for pair in reply.headers if pair[0] not in SAID_BY_OUTPUT]
        return _events(reply, output, reader, headers + own, on_event, event_bytes)
    headers = [pair for pair in reply.headers if pair[0] not in NOT_PASSED]
    return _whole(reply, output, reader, headers + own, hold_bytes, event_bytes)


async def _events(
    reply: Reply,
    output: Output,
    reader: ReplyReader,
    headers: Headers,
    on_event: Callable[[], None],
    event_bytes: int,
) -> None:
    held = b""  # the beginning of an event
    feed = reader.feed
    write: Callable[[bytes], bool]

    def first(data: bytes) -> bool:
        nonlocal write
        write = output.write_on
        on_event()
        output.begin_stream(headers)
        return output.write(data)

    write = first

    def sink(data: bytes) -> bool:
        nonlocal held
        if held or not data.endswith(b"\n\n"):
            data, held = sse.parted(held + data)
            if not data:
                return len(held) <= event_bytes
        feed(data)
        return write(data)

    while not await reply.pump(sink):
        if len(held) > event_bytes:
            raise InvalidReply(f"{reply.upstream} sent an event longer than {event_bytes} bytes")
        await output.drained()
    if held:  # no blank line after the last event: passed as it came
        feed(held)
        write(held)
    if not output.answering:
        raise TruncatedReply(f"{reply.upstream} sent a stream without a single event")
    output.finish()


async def _whole(
    reply: Reply, output: Output, reader: ReplyReader, headers: Headers, hold_bytes: int, event_bytes: int
) -> None:
    body = reply.whole()
    if body is not None:
        reader.feed(body)
        reader.end()
        output.whole(reply.status, headers, body)
        return
    held: list[bytes] = []
    size = 0

    def sink(data: bytes) -> bool:
        nonlocal size
        reader.feed(data)
        if output.answering:
            return output.write(data)
        held.append(data)
        size += len(data)
        if output.begun:  # pings have begun a stream, where a whole reply is one event
            return size <= event_bytes
        if size <= hold_bytes:
            return True
        output.begin(reply.status, headers, _length(reply))
        return output.write(b"".join(held))

    while not await reply.pump(sink):
        if not output.answering:
            raise InvalidReply(f"{reply.upstream} sent no stream, but a reply longer than {event_bytes} bytes")
        await output.drained()
    reader.end()
    if output.answering:
        output.finish()
    else:
        output.whole(reply.status, headers, b"".join(held))


def _length(reply: Reply) -> int | None:
    said = reply.header(b"content-length")
    return int(said) if said is not None and said.isdigit() else None
