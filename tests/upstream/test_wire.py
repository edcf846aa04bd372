"""The pool and its connections, against upstreams that keep to no rules."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_upstream import (
    Ending,
    Framing,
    Script,
    Upstream,
    Visit,
    answers,
    chunk,
    hangs,
    never_accepting,
    raw,
    refusing,
    says,
    upstream,
)
from wire_limits import LIMITS

from moltbot_edge.core.concurrency import INITIAL
from moltbot_edge.core.errors import (
    ClosedUnanswered,
    InvalidReply,
    Overloaded,
    TruncatedReply,
    Unreachable,
    UpstreamError,
    UpstreamTimeout,
)
from moltbot_edge.network.certificates import Trust
from moltbot_edge.network.names import Names
from moltbot_edge.upstream.pool import Pool, in_line
from moltbot_edge.upstream.ticker import Ticker
from moltbot_edge.upstream.wire import Address, Reply

pytestmark = pytest.mark.anyio

REQUEST = b"POST /v1/x HTTP/1.1\r\nHost: box\r\nContent-Length: 2\r\n\r\n{}"
SOON_S = 0.25  # a tick


@asynccontextmanager
async def pool_to(
    to: Upstream | str, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, **limits: float
) -> AsyncIterator[Pool]:
    """Whatever a test did with it, at its end nothing is busy and nobody waits."""
    ticker = Ticker()
    port = to.port if isinstance(to, Upstream) else int(to.rpartition(":")[2])
    address = Address(host, port, tls is not None)

    def trust() -> Trust:
        assert tls is not None
        return Trust(tls, "the test")

    pool = Pool("box", address, msgspec.structs.replace(LIMITS, **limits), ticker, Names(), trust)
    try:
        async with asyncio.timeout(10):
            yield pool
            assert pool.counts[1:] == (0, 0)
    finally:
        pool.close()
        ticker.stop()
        await asyncio.sleep(0.01)  # the connections' ends are news for the next turn of the loop


async def body_of(reply: Reply) -> bytes:
    """Read to its end and given back, whatever happens."""
    pieces: list[bytes] = []

    def keep(data: bytes) -> bool:
        pieces.append(data)
        return True

    try:
        assert await reply.pump(keep)
    finally:
        reply.close()
    return b"".join(pieces)


async def fetch(pool: Pool) -> bytes:
    return await body_of(await pool.send([REQUEST]))


def floods(size: int) -> Script:
    pieces = [b"x" * 50_000] * (size // 50_000)
    return raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, *pieces, then="keep")


async def until(pool: Pool, idle: int, busy: int, waiting: int) -> None:
    async with asyncio.timeout(2):
        while pool.counts != (idle, busy, waiting):  # noqa: ASYNC110  (a pool tells nobody)
            await asyncio.sleep(0)


# Connections are kept.


async def test_a_connection_serves_one_request_after_another() -> None:
    async with upstream(says()) as box, pool_to(box) as pool:
        for _ in range(3):
            await fetch(pool)
        assert len(box.asked) == 3
        assert len(box.visits) == 1
        assert pool.counts == (1, 0, 0)
        assert pool.stale_retries == 0


async def test_requests_at_once_have_connections_of_their_own() -> None:
    async with upstream(says()) as box, pool_to(box) as pool:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(fetch(pool))
        assert len(box.visits) == 3
        assert pool.counts == (3, 0, 0)


async def test_no_more_than_the_wanted_connections_are_kept() -> None:
    async with upstream(says()) as box, pool_to(box, idle_connections=1) as pool:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(fetch(pool))
        assert pool.counts == (1, 0, 0)


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with upstream(says()) as box, pool_to(box, idle_connection_s=SOON_S) as pool:
        await fetch(pool)
        await box.was_left()
        await until(pool, 0, 0, 0)


@pytest.mark.parametrize(
    "reply",
    [
        answers(200, "{}", "Connection: close"),
        raw(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", then="hang"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}and more", then="hang"),
    ],
    ids=["connection-close", "http-1.0", "more-than-was-said"],
)
async def test_a_connection_that_will_not_last_is_not_kept(reply: Script) -> None:
    async with upstream(reply) as box, pool_to(box) as pool:
        assert await fetch(pool) == b"{}"
        await box.was_left()
        assert await fetch(pool) == b"{}"
        assert pool.stale_retries == 0
        assert len(box.visits) == 2


async def test_bytes_that_nobody_asked_for_end_an_idle_connection() -> None:
    async with upstream(says()) as box, pool_to(box) as pool:
        await fetch(pool)
        await box.visits[0].send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await box.was_left()
        await fetch(pool)
        assert len(box.visits) == 2


async def test_a_connection_with_its_body_unread_is_closed() -> None:
    async with upstream(answers(200, b"x" * 1_000_000)) as box, pool_to(box) as pool:
        reply = await pool.send([REQUEST])
        reply.close()
        await box.was_left()


async def test_closing_a_reply_twice_gives_its_connection_back_once() -> None:
    async with upstream(says()) as box, pool_to(box) as pool:
        reply = await pool.send([REQUEST])
        await body_of(reply)
        reply.close()
        assert pool.counts == (1, 0, 0)


async def test_small_packets_are_not_held_back() -> None:
    async with upstream(says()) as box, pool_to(box) as pool:
        reply = await pool.send([REQUEST])
        assert reply._transport is not None
        sock = reply._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        reply.close()


# Stale ones.


async def test_a_stale_connection_is_replaced_by_a_fresh_one() -> None:
    async with upstream(says("first"), raw(), says("second")) as box, pool_to(box) as pool:
        await fetch(pool)
        assert b"second" in await fetch(pool)
        assert pool.stale_retries == 1
        assert len(box.visits) == 2


async def test_a_connection_that_ends_while_idle_is_no_retry() -> None:
    async with upstream(answers(200, "{}", then="close")) as box, pool_to(box) as pool:
        for _ in range(3):
            await fetch(pool)
            await until(pool, 0, 0, 0)
        assert pool.stale_retries == 0


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_stale_connection_is_replaced_only_once(how: Ending) -> None:
    async with upstream(says(), raw(then=how)) as box, pool_to(box) as pool:
        await fetch(pool)
        with pytest.raises(ClosedUnanswered, match="without an answer"):
            await fetch(pool)
        assert len(box.asked) == 3


async def test_a_fresh_connection_that_ends_is_not_replaced() -> None:
    async with upstream(raw()) as box, pool_to(box) as pool:
        with pytest.raises(ClosedUnanswered, match="without an answer"):
            await fetch(pool)
        assert len(box.asked) == 1


async def test_a_request_that_was_answered_with_a_byte_is_not_sent_again() -> None:
    async with upstream(says(), raw(b"H")) as box, pool_to(box) as pool:
        await fetch(pool)
        with pytest.raises(TruncatedReply, match="headers"):
            await fetch(pool)
        assert len(box.asked) == 2
        assert pool.stale_retries == 0


async def test_replacing_a_stale_connection_keeps_within_the_limit() -> None:
    async with upstream(says(), raw(), says()) as box, pool_to(box, connections=1) as pool:
        await fetch(pool)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(fetch(pool))
        assert box.most_open == 1


# The line.


async def test_who_finds_no_connection_waits_for_one() -> None:
    async with upstream(says()) as box, pool_to(box, connections=1) as pool:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(fetch(pool))
        assert len(box.asked) == 4
        assert len(box.visits) == 1


async def test_who_waits_gets_a_place_where_a_connection_was_not_kept() -> None:
    async with upstream(answers(200, "{}", "Connection: close")) as box, pool_to(box, connections=1) as pool:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(fetch(pool))
        assert len(box.visits) == 3
        assert box.most_open == 1


async def test_who_waits_gets_the_place_of_a_connection_that_failed() -> None:
    with refusing() as nowhere:
        async with pool_to(nowhere, connections=1) as pool:
            asked = [asyncio.ensure_future(fetch(pool)) for _ in range(3)]
            for one in asked:
                with pytest.raises(Unreachable, match="cannot be reached"):
                    await one


async def test_who_comes_to_a_full_line_is_refused() -> None:
    async with upstream(hangs()) as box, pool_to(box, connections=1, queue=1) as pool:
        first, second = asyncio.ensure_future(fetch(pool)), asyncio.ensure_future(fetch(pool))
        await until(pool, 0, 1, 1)
        with pytest.raises(Overloaded, match="busy"):
            await fetch(pool)
        for one in (second, first):
            one.cancel()
            await asyncio.wait([one])


async def test_the_line_is_left_after_its_time() -> None:
    async with upstream(hangs()) as box, pool_to(box, connections=1, queue_s=0.05) as pool:
        first = asyncio.ensure_future(fetch(pool))
        await box.was_asked()
        with pytest.raises(Overloaded, match="busy"):
            await fetch(pool)
        assert pool.counts == (0, 1, 0)
        first.cancel()
        await asyncio.wait([first])


async def test_who_leaves_just_as_it_is_served_passes_its_place_on() -> None:
    for reply in (says(), answers(200, "{}", "Connection: close")):
        async with upstream(reply) as box, pool_to(box, connections=1) as pool:
            reply_of_first = await pool.send([REQUEST])
            second, third = asyncio.ensure_future(fetch(pool)), asyncio.ensure_future(fetch(pool))
            await until(pool, 0, 1, 2)
            await body_of(reply_of_first)  # the second has been given the place, and has not run
            second.cancel()
            await third
            assert second.cancelled()


async def test_closing_the_pool_ends_who_waits_and_who_is_served() -> None:
    async with upstream(hangs()) as box, pool_to(box, connections=1) as pool:
        asked = [asyncio.ensure_future(fetch(pool)) for _ in range(2)]
        await box.was_asked()
        await until(pool, 0, 1, 1)
        pool.close()
        for one, error in zip(asked, (ClosedUnanswered, Unreachable), strict=True):
            with pytest.raises(error):
                await one
        await box.was_left()


# Who leaves frees the upstream.


@pytest.mark.parametrize("status", [b"", b"HTTP/1.1 200 OK\r\nContent-Len"], ids=["no-byte", "half-a-head"])
async def test_leaving_while_the_head_is_awaited_closes_the_connection(status: bytes) -> None:
    async with upstream(raw(status, then="hang")) as box, pool_to(box) as pool:
        asked = asyncio.ensure_future(fetch(pool))
        await box.was_asked()
        asked.cancel()
        await box.was_left()
        assert pool.counts == (0, 0, 0)


async def test_leaving_in_the_middle_of_the_body_closes_the_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
    async with upstream(raw(head, then="hang")) as box, pool_to(box) as pool:
        asked = asyncio.ensure_future(body_of(await pool.send([REQUEST])))
        await asyncio.sleep(0.01)
        asked.cancel()
        await box.was_left()
        assert pool.counts == (0, 0, 0)


async def test_leaving_while_connecting_frees_the_place() -> None:
    with never_accepting() as nowhere:
        async with pool_to(nowhere) as pool:
            asked = asyncio.ensure_future(fetch(pool))
            await until(pool, 0, 1, 0)
            asked.cancel()
            await until(pool, 0, 0, 0)


# Time limits.


async def test_a_connection_that_is_not_accepted_is_unreachable() -> None:
    with never_accepting() as nowhere:
        async with pool_to(nowhere, connect_s=0.05) as pool:
            with pytest.raises(Unreachable, match="did not accept"):
                await fetch(pool)


@pytest.mark.parametrize(
    ("limit", "sent"),
    [
        ("first_byte_s", b""),
        ("between_bytes_s", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
        ("total_s", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
    ],
)
async def test_an_upstream_that_falls_silent_is_given_up(limit: str, sent: bytes) -> None:
    async with (
        upstream(raw(sent, then="hang")) as box,
        pool_to(box, host="127.0.0.1", tls=None, **{limit: SOON_S}) as pool,
    ):
        with pytest.raises(UpstreamTimeout, match=r"0\.25 s"):
            await fetch(pool)
        await box.was_left()


async def test_an_upstream_that_never_ends_is_given_up() -> None:
    async def trickle(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not visit.gone.is_set():
            await visit.send(chunk(b"."), gap_s=0.01)

    async with upstream(trickle) as box, pool_to(box, total_s=SOON_S, between_bytes_s=SOON_S) as pool:
        with pytest.raises(UpstreamTimeout, match="in all"):
            await fetch(pool)
        await box.was_left()


async def test_a_pause_of_the_reader_is_not_the_upstreams_silence() -> None:
    async with upstream(answers(200, b"x" * 1_000_000)) as box, pool_to(box, between_bytes_s=2 * SOON_S) as pool:
        reply = await pool.send([REQUEST])
        got = 0

        def first_of_all(data: bytes) -> bool:
            nonlocal got
            got += len(data)
            return False

        assert not await reply.pump(first_of_all)
        await asyncio.sleep(3 * SOON_S)
        assert got + len(await body_of(reply)) == 1_000_000


# Replies.


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_body_is_read_however_it_is_framed(framing: Framing) -> None:
    async with upstream(answers(200, b"x" * 200_000, framing=framing)) as box, pool_to(box) as pool:
        assert await fetch(pool) == b"x" * 200_000


async def test_a_reply_without_a_body_is_whole() -> None:
    async with upstream(raw(b"HTTP/1.1 204 No Content\r\n\r\n", then="keep")) as box, pool_to(box) as pool:
        assert await fetch(pool) == await fetch(pool) == b""
        assert len(box.visits) == 1


async def test_early_hints_are_not_the_answer() -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Type: a/b\r\n\r\n"
    for then in (raw(*hints, then="keep"), raw(b"".join(hints), then="keep")):

        async def script(visit: Visit, then: Script = then) -> None:
            await then(visit)
            await answers(200, "{}")(visit)

        async with upstream(script) as box, pool_to(box) as pool:
            for _ in range(2):
                reply = await pool.send([REQUEST])
                assert reply.status == 200
                assert [name for name, _ in reply.headers] == [b"content-type", b"content-length"]
                assert await body_of(reply) == b"{}"
            assert len(box.visits) == 1


async def test_trailers_are_no_headers() -> None:
    sent = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Type: text/html\r\n\r\n"
    async with upstream(raw(sent, then="keep")) as box, pool_to(box) as pool:
        reply = await pool.send([REQUEST])
        assert await body_of(reply) == b"{}"
        assert reply.headers == [(b"transfer-encoding", b"chunked")]


async def test_trailers_without_end_are_given_up() -> None:
    sent = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: "
    async with upstream(raw(sent, *[b"x" * 50_000] * 4, then="hang")) as box, pool_to(box) as pool:
        reply = await pool.send([REQUEST])
        with pytest.raises(InvalidReply, match="of trailers"):
            await body_of(reply)
        reply.close()


async def test_a_second_reply_is_no_part_of_the_first() -> None:
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n[]"
    async with upstream(raw(sent, then="keep")) as box, pool_to(box) as pool:
        for _ in range(2):
            reply = await pool.send([REQUEST])
            assert (reply.status, await body_of(reply)) == (200, b"{}")
            reply.close()
        assert len(box.visits) == 2


async def test_an_answer_before_the_request_was_read_is_heard() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}"

    async def early(visit: Visit) -> None:
        visit.transport.pause_reading()
        await visit.send(refusal)
        await visit.end("hang")

    body = b"x" * 8_000_000
    request = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + body  # the script is asked at once
    async with upstream(early) as box, pool_to(box) as pool:
        reply = await pool.send([request])
        assert reply.status == 413
        assert await body_of(reply) == b"{}"
        assert pool.counts == (0, 0, 0)  # with half a request on its way, it is of no use


TOO_LONG = b"X-Long: " + b"x" * 30_000 + b"\r\n"


@pytest.mark.parametrize(
    ("script", "error", "said"),
    [
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n", then="hang"), InvalidReply, "invalid HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", then="hang"), InvalidReply, "invalid HTTP"),
        (
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n", then="hang"),
            InvalidReply,
            "invalid HTTP",
        ),
        (raw(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", then="hang"), InvalidReply, "invalid"),
        (raw(b"HTTP/1.1 200 OK\r\n", *[TOO_LONG] * 9, then="hang"), InvalidReply, "bytes of headers"),
        (raw(*[b"HTTP/1.1 100 Continue\r\n" + TOO_LONG + b"\r\n"] * 9, then="hang"), InvalidReply, "bytes of headers"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), TruncatedReply, "in the middle of its reply"),
        (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", then="reset"),
            TruncatedReply,
            "in the middle of its reply",
        ),
        (
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"),
            TruncatedReply,
            "in the middle of its reply",
        ),
        (raw(b"HTTP/1.1 200 OK\r\n\r\nhalf", then="reset"), TruncatedReply, "in the middle of its reply"),
        (raw(b"HTTP/1.1 200 OK\r\n"), TruncatedReply, "headers"),
        (raw(then="reset"), ClosedUnanswered, "without an answer"),
    ],
    ids=[
        "not-http", "bad-length", "bad-chunk", "other-protocol", "endless-headers", "endless-hints", "short",
        "reset", "short-chunk", "reset-before-eof", "half-a-head", "reset-at-once",
    ],
)  # fmt: skip
async def test_a_broken_reply_has_its_name(script: Script, error: type[UpstreamError], said: str) -> None:
    async with upstream(script) as box, pool_to(box) as pool:
        with pytest.raises(error, match=said):
            await fetch(pool)
        await box.was_left()
        assert pool.counts == (0, 0, 0)


async def test_a_refused_connection_is_unreachable() -> None:
    with refusing() as nowhere:
        async with pool_to(nowhere) as pool:
            with pytest.raises(Unreachable, match=r"box at 127\.0\.0\.1:\d+ cannot be reached"):
                await fetch(pool)


async def test_a_host_whose_name_is_none_is_unreachable() -> None:
    with refusing() as nowhere:
        async with pool_to(nowhere, host="a..b") as pool:
            with pytest.raises(
                Unreachable, match=r"box at a\.\.b:\d+ cannot be reached: no address for the name 'a\.\.b'"
            ):
                await fetch(pool)


@pytest.mark.parametrize("host", ["localhost", "box.localhost"])
async def test_localhost_is_reached_without_asking_anybody(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    async with upstream(says()) as box, pool_to(box, host=host) as pool:
        await fetch(pool)


async def test_a_host_with_several_addresses_is_tried_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def several(*asked: object, **options: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", 0)) for last in (7, 1)]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    async with upstream(says()) as box, pool_to(box, host="box.lan") as pool:
        await fetch(pool)


# Whatever the cut, the same bytes.


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"data: one\n\n") + chunk(b"x" * 99) + chunk(b"")
)
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b"x" * 99


@pytest.mark.parametrize("sent", [CHUNKED, COUNTED], ids=["chunked", "counted"])
async def test_a_reply_in_single_bytes_is_the_same_reply(sent: bytes) -> None:
    singly = [sent[at : at + 1] for at in range(len(sent))]
    async with upstream(raw(sent, then="keep"), raw(*singly, then="keep")) as box, pool_to(box) as pool:
        assert await fetch(pool) == await fetch(pool)
        assert len(box.visits) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(cuts=st.lists(st.integers(0, len(CHUNKED)), max_size=6).map(sorted))
async def test_a_reply_cut_anywhere_is_the_same_reply(cuts: list[int]) -> None:
    pieces = [CHUNKED[start:end] for start, end in zip([0, *cuts], [*cuts, len(CHUNKED)], strict=True)]
    async with upstream(raw(*pieces, then="keep")) as box, pool_to(box) as pool:
        assert await fetch(pool) == b"data: one\n\n" + b"x" * 99
        assert pool.counts == (1, 0, 0)


# Back-pressure.


async def test_a_sink_that_takes_no_more_stops_the_upstream() -> None:
    everything = 50_000_000

    async with upstream(floods(everything)) as box, pool_to(box) as pool:
        reply = await pool.send([REQUEST])
        got = 0

        def refuse(data: bytes) -> bool:
            nonlocal got
            got += len(data)
            return False

        for _ in range(5):
            assert not await reply.pump(refuse)
            await asyncio.sleep(0.02)
            assert box.visits[0].sent_bytes - got < 2_000_000  # the kernel's part, of this one connection
        rest = await body_of(reply)
        assert got + len(rest) == everything


async def test_who_does_not_read_at_all_stops_the_upstream() -> None:
    async with upstream(answers(200, b"x" * 50_000_000)) as box, pool_to(box) as pool:
        reply = await pool.send([REQUEST])
        await asyncio.sleep(0.05)
        assert sum(map(len, reply._chunks)) < 1_000_000
        reply.close()


# TLS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certified(authority: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def trusting(authority: trustme.CA | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authority is not None:
        authority.configure_trust(context)
    return context


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_an_upstream_is_reached_over_tls(authority: trustme.CA, framing: Framing) -> None:
    async with (
        upstream(answers(200, b"x" * 200_000, framing=framing), tls=certified(authority)) as box,
        pool_to(box, tls=trusting(authority)) as pool,
    ):
        assert await fetch(pool) == await fetch(pool) == b"x" * 200_000
        assert len(box.visits) == (2 if framing == "close" else 1)
        assert pool.stale_retries == 0


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_over_tls_too_a_stale_connection_is_replaced(authority: trustme.CA, how: Ending) -> None:
    async with (
        upstream(says("first"), raw(then=how), says("second"), tls=certified(authority)) as box,
        pool_to(box, tls=trusting(authority)) as pool,
    ):
        await fetch(pool)
        assert b"second" in await fetch(pool)
        assert pool.stale_retries == 1


async def test_over_tls_too_leaving_closes_the_connection(authority: trustme.CA) -> None:
    async with (
        upstream(hangs(), tls=certified(authority)) as box,
        pool_to(box, tls=trusting(authority)) as pool,
    ):
        asked = asyncio.ensure_future(fetch(pool))
        await box.was_asked()
        asked.cancel()
        await box.was_left()


async def test_an_unknown_authority_is_unreachable(authority: trustme.CA) -> None:
    async with upstream(says(), tls=certified(authority)) as box, pool_to(box, tls=trusting(None)) as pool:
        with pytest.raises(Unreachable, match=r"certificate verify failed.*looked for in the test.*`ca_file`"):
            await fetch(pool)


async def test_another_hosts_certificate_is_unreachable(authority: trustme.CA) -> None:
    async with (
        upstream(says(), tls=certified(authority, "other.example")) as box,
        pool_to(box, tls=trusting(authority)) as pool,
    ):
        with pytest.raises(Unreachable, match="the endpoint has to name the machine as its certificate does"):
            await fetch(pool)


async def test_tls_to_who_speaks_none_is_unreachable(authority: trustme.CA) -> None:
    async with upstream(hangs()) as box, pool_to(box, tls=trusting(authority), connect_s=0.2) as pool:
        with pytest.raises(Unreachable):
            await fetch(pool)


async def test_who_hangs_up_on_tls_is_told_as_that(authority: trustme.CA) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with pool_to(at, tls=trusting(authority)) as pool:
            with pytest.raises(Unreachable, match=r"cannot be reached: .*\w"):
                await fetch(pool)


async def test_over_tls_too_a_sink_that_takes_no_more_stops_the_upstream(authority: trustme.CA) -> None:
    async with (
        upstream(floods(20_000_000), tls=certified(authority)) as box,
        pool_to(box, tls=trusting(authority)) as pool,
    ):
        reply = await pool.send([REQUEST])
        got = 0

        def refuse(data: bytes) -> bool:
            nonlocal got
            got += len(data)
            return False

        for _ in range(5):
            assert not await reply.pump(refuse)
            await asyncio.sleep(0.01)
        assert got + len(await body_of(reply)) == 20_000_000


# How much it takes, and lines of several.


async def test_a_fast_upstream_is_soon_sent_as_many_as_there_are_connections() -> None:
    async with upstream(says()) as box, pool_to(box, connections=40, queue=200) as pool:
        assert pool.limit == INITIAL
        async with asyncio.TaskGroup() as tasks:
            for _ in range(150):
                tasks.create_task(fetch(pool))
        assert pool.limit == 40
        assert INITIAL < box.most_open <= 40


async def test_replies_that_go_on_for_long_do_not_keep_others_from_beginning() -> None:
    begins = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbe", then="hang")
    async with upstream(begins) as box, pool_to(box, connections=40, queue=40) as pool:
        replies = await asyncio.gather(*(pool.send([REQUEST]) for _ in range(30)))
        assert pool.counts == (0, 30, 0)
        for reply in replies:
            reply.close()


@pytest.mark.parametrize("status", [429, 503])
async def test_an_upstream_that_says_it_is_too_much_is_sent_less_at_once(status: int) -> None:
    async with upstream(answers(status, "{}")) as box, pool_to(box, connections=20, queue=50) as pool:
        for _ in range(INITIAL):
            assert (await fetch(pool)) == b"{}"
        assert pool.limit == 1
        box.most_open = 0
        box.play(hangs())
        asked = [asyncio.ensure_future(fetch(pool)) for _ in range(3)]
        await until(pool, 0, 1, 2)
        for one in asked:
            one.cancel()
        await asyncio.wait(asked)


async def test_one_that_answers_nothing_in_its_time_is_sent_less_too() -> None:
    async with upstream(hangs()) as box, pool_to(box, connections=20, first_byte_s=SOON_S) as pool:
        with pytest.raises(UpstreamTimeout):
            await fetch(pool)
        assert pool.limit == INITIAL - 1


async def test_who_waits_in_two_lines_is_served_by_the_first_that_has_room() -> None:
    async with (
        upstream(hangs()) as slow,
        upstream(says("quick")) as quick,
        pool_to(slow, connections=1) as one,
        pool_to(quick, connections=1) as other,
    ):
        stuck = asyncio.ensure_future(fetch(one))
        await slow.was_asked()
        before = await other.send([REQUEST])
        waiting = asyncio.ensure_future(in_line([one, other]))
        await until(one, 0, 1, 1)
        assert other.counts == (0, 1, 1)
        await body_of(before)
        place = await waiting
        assert place.pool is other
        assert one.counts == (0, 1, 0)
        assert b"quick" in await body_of(await other.send([REQUEST], place))
        stuck.cancel()
        await asyncio.wait([stuck])


async def test_who_leaves_two_lines_is_in_neither_and_gives_back_what_it_was_given() -> None:
    async with (
        upstream(says()) as first,
        upstream(says()) as second,
        pool_to(first, connections=1) as one,
        pool_to(second, connections=1) as other,
    ):
        replies = [await pool.send([REQUEST]) for pool in (one, other)]
        waiting = asyncio.ensure_future(in_line([one, other]))
        await until(one, 0, 1, 1)
        for reply in replies:
            await body_of(reply)  # both have room now, and the one place is given
        waiting.cancel()
        await asyncio.wait([waiting])
        assert [pool.counts for pool in (one, other)] == [(1, 0, 0), (1, 0, 0)]


async def test_only_where_every_line_is_full_a_request_is_refused() -> None:
    async with (
        upstream(hangs()) as first,
        upstream(hangs()) as second,
        pool_to(first, connections=1, queue=1) as one,
        pool_to(second, connections=1, queue=2) as other,
    ):
        asked = [asyncio.ensure_future(fetch(pool)) for pool in (one, one, other)]
        await until(one, 0, 1, 1)
        await until(other, 0, 1, 0)
        waiting = [asyncio.ensure_future(in_line([one, other])) for _ in range(2)]
        await until(other, 0, 1, 2)
        with pytest.raises(Overloaded, match="each of 2 upstreams is busy"):
            await in_line([one, other])
        for task in (*asked, *waiting):
            task.cancel()
        await asyncio.wait((*asked, *waiting))
