"""HTTP/1.1 from callers who keep to it, who hardly do, and who do not."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from harness import Gateway, config, serving
from raw_caller import CHAT, QUESTION, Answer, Caller, Cut, request
from scripted_upstream import DONE, answers, completion, delta, hangs, says, streams, upstream

from moltbot_edge.config.schema import Config
from moltbot_edge.server import connection
from moltbot_edge.server.connection import Scope
from moltbot_edge.server.status import StatusEndpoints

pytestmark = pytest.mark.anyio

STREAMED = QUESTION | {"stream": True}
TICK_S = 0.25
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


async def told(client: Caller, status: int, code: str | None = None) -> Answer:
    """An error in OpenAI's shape, and then the connection's end."""
    answer = await client.reply()
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.header("connection") == "close"
    assert await client.closed() == b""
    return answer


# Requests, however they come.


async def test_one_connection_serves_many_requests() -> None:
    async with upstream(says()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        for _ in range(3):
            assert (await client.ask()).status == 200
            assert (await client.ask(None, path="/health", method="GET")).status == 200
        assert len(gateway.server.callers.connections) == 1


async def test_a_request_in_single_bytes_is_the_same_request() -> None:
    async with upstream(says()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        sent = request()
        for _ in range(2):
            await client.send(*[sent[at : at + 1] for at in range(len(sent))])
            assert (await client.reply()).status == 200
        assert [asked.body for asked in box.asked] == [json.dumps(QUESTION).encode()] * 2


@pytest.mark.parametrize("together", [True, False], ids=["at-once", "in-turn"])
async def test_a_body_in_chunks_is_the_same_body(together: bool) -> None:
    body = json.dumps(QUESTION | {"padding": "x" * 50_000}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:1], body[1:30_000], body[30_000:])]
    pieces = [head, *chunks, b"0\r\n\r\n"]
    async with upstream(says()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        for _ in range(2):
            await client.send(*([b"".join(pieces)] if together else pieces))
            assert (await client.reply()).status == 200
        assert [asked.body for asked in box.asked] == [body] * 2


async def test_a_large_body_arrives_whole() -> None:
    body = json.dumps(QUESTION | {"padding": "x" * 5_000_000}).encode()
    async with upstream(says()) as box, serving(config(box)) as gateway:
        assert (await gateway.ask(body)).status == 200
        assert box.asked[0].body == body


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    async with (
        upstream(says("one"), streams([delta("two"), DONE]), says("three")) as box,
        serving(config(box)) as gateway,
        gateway.caller() as client,
    ):
        ahead = [request(), HEALTH, request(STREAMED), HEALTH, request(QUESTION | {"padding": "x" * 50_000}), HEALTH]
        await client.send(b"".join(ahead))
        got = [await client.reply() for _ in ahead]
        bodies = [completion("one"), None, delta("two") + DONE, None, completion("three"), None]
        assert [answer.status for answer in got] == [200] * 6
        assert all(body in (None, answer.body) for answer, body in zip(got, bodies, strict=True))


async def test_a_caller_that_leaves_is_noticed_after_requests_sent_ahead_too() -> None:
    async with upstream(says(), hangs()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(request() + request(STREAMED))
        assert (await client.reply()).status == 200
        await box.was_asked(2)
        client.leave()
        await box.was_left()


async def test_a_blank_line_between_requests_is_no_request() -> None:
    async with upstream(says()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        for _ in range(2):
            await client.send(request() + b"\r\n")
            assert (await client.reply()).status == 200


async def test_a_client_of_http_1_0_gets_its_reply_and_the_end() -> None:
    for script, body in ((says(), completion()), (streams([delta("hi"), DONE]), delta("hi") + DONE)):
        async with upstream(script) as box, serving(config(box)) as gateway, gateway.caller() as client:
            await client.send(request(STREAMED, version="1.0"))
            answer = await client.reply()
            assert answer.body == body
            assert answer.header("transfer-encoding") is None
            assert await client.closed() == b""


async def test_a_wish_to_close_is_granted() -> None:
    async with upstream(says()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        answer = await client.ask(QUESTION, "Connection: close")
        assert answer.header("connection") == "close"
        assert await client.closed() == b""


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    async with serving(Config()) as gateway, gateway.caller() as client:
        got = await client.ask(None, path="/health", method="GET")
        asked = await client.ask(None, path="/health", method="HEAD")
        assert asked.status == 200
        assert asked.body == b""
        assert asked.header("content-length") == str(len(got.body))
        assert (await client.ask(None, path=CHAT, method="HEAD")).status == 405
        assert (await client.ask(None, path="/health", method="GET")).body == got.body


@pytest.mark.parametrize("body", [QUESTION, QUESTION | {"padding": "x" * 50_000}], ids=["short", "long"])
@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
async def test_a_wish_for_http_2_is_passed_over(body: Any, chunked: bool) -> None:
    """As Java's client has it, with every first request."""
    wish = "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\nUpgrade: h2c"
    data = json.dumps(body).encode()
    if chunked:
        head = f"POST {CHAT} HTTP/1.1\r\n{wish}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        sent = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
    else:
        sent = request(body, wish)
    async with upstream(says()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(sent)
        answer = await client.reply()
        assert answer.status == 200
        assert box.asked[0].body == data
    async with serving(Config()) as gateway, gateway.caller() as client:
        await client.send(request(None, wish, path="/health", method="GET"))
        assert (await client.reply()).status == 200


async def test_a_caller_who_waits_for_leave_to_send_gets_it() -> None:
    head, body = request(QUESTION, "Expect: 100-continue").split(b"\r\n\r\n")
    async with upstream(says()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(head + b"\r\n\r\n")
        assert (await client.head()).status == 100
        await client.send(body)
        assert (await client.reply()).status == 200
        await client.send(head + b"\r\n\r\n" + body)  # and one who does not wait, does not
        assert (await client.reply()).status == 200


async def test_a_caller_who_waits_for_leave_to_send_too_much_is_refused_at_once() -> None:
    head, _ = request({"x": "x" * 2000}, "Expect: 100-continue").split(b"\r\n\r\n")
    async with serving(config("http://unused", body_bytes=1000)) as gateway, gateway.caller() as client:
        await client.send(head + b"\r\n\r\n")
        await told(client, 413, "body_too_large")


async def test_small_packets_are_not_held_back() -> None:
    async with serving(Config()) as gateway, gateway.caller() as client:
        await client.ask(None, path="/health", method="GET")
        for one in gateway.server.callers.connections:
            assert isinstance(one, connection.Connection)
            sock = one.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# What is no request.


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /health HTTP/1.1\r\nA: b\rc\r\n\r\n",
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"CONNECT elsewhere:443 HTTP/1.1\r\n\r\n",
    ],
    ids=["tls", "no-colon", "bare-cr", "two-framings", "two-lengths", "negative", "huge", "connect"],
)
async def test_what_is_no_request_is_refused(sent: bytes) -> None:
    async with serving(Config()) as gateway, gateway.caller() as client:
        await client.send(sent)
        await told(client, 400)


async def test_a_body_whose_chunks_are_not_right_is_refused() -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    async with serving(config("http://unused")) as gateway:
        for sent in ([head, b"no size\r\n"], [head + b"5\r\nhello", b"no end of it"], [head + b"no size\r\n"]):
            async with gateway.caller() as client:
                await client.send(*sent)
                await told(client, 400)


@pytest.mark.parametrize("size", [70_000, 10_000_000])
async def test_headers_without_end_are_refused(size: int) -> None:
    async with serving(Config()) as gateway, gateway.caller() as client:
        sending = asyncio.ensure_future(
            client.send(b"GET /health HTTP/1.1\r\n", *[b"X: " + b"x" * 9990 + b"\r\n"] * (size // 9995))
        )
        answer = await client.reply()
        assert answer.status == 400
        assert "headers" in answer.error["message"]
        await asyncio.wait([sending])
        assert sending.exception() is None or isinstance(sending.exception(), ConnectionError)


async def test_headers_without_end_behind_a_request_end_the_connection() -> None:
    async with upstream(hangs()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(request())
        await box.was_asked()
        await client.send(b"GET /health HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            await client.send(*[b"X: " + b"x" * 9990 + b"\r\n"] * 2000)
        await box.was_left()


# Slowness.


@pytest.mark.parametrize("sent", [b"G", b"GET /health HTTP/1.1\r\nHost: x\r\n"])
async def test_headers_that_do_not_come_in_time_are_refused(sent: bytes) -> None:
    async with serving(config(head_s=2 * TICK_S)) as gateway, gateway.caller() as client:
        await client.send(sent)
        await told(client, 408, "request_timeout")


async def test_headers_that_trickle_are_refused_too() -> None:
    async with serving(config(head_s=2 * TICK_S)) as gateway, gateway.caller() as client:
        await client.send(b"GET /health HTTP/1.1\r\nX: ")
        reply = asyncio.ensure_future(client.reply())
        while not reply.done():
            await client.send(b"x")
            await asyncio.sleep(0.05)
        assert reply.result().status == 408


@pytest.mark.parametrize("framing", ["Content-Length: 99", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("part", [b"", b"5\r\nhello"])
async def test_a_body_that_does_not_come_in_time_is_refused(framing: str, part: bytes) -> None:
    async with serving(config("http://unused", head_s=2 * TICK_S)) as gateway, gateway.caller() as client:
        await client.send(f"POST {CHAT} HTTP/1.1\r\n{framing}\r\n\r\n".encode() + part)
        await told(client, 408, "request_timeout")


async def test_a_body_that_trickles_is_refused_too() -> None:
    """Else one caller could hold the room of all the others for as long as it likes."""
    async with serving(config("http://unused", head_s=2 * TICK_S)) as gateway, gateway.caller() as client:
        await client.send(f"POST {CHAT} HTTP/1.1\r\nContent-Length: 9000\r\n\r\n".encode())
        reply = asyncio.ensure_future(client.reply())
        while not reply.done():
            await client.send(b"x")
            await asyncio.sleep(0.05)
        assert reply.result().status == 408


async def test_the_next_requests_slow_headers_do_not_end_the_reply_before_it() -> None:
    events = [delta(str(number)) for number in range(20)]
    async with (
        upstream(streams(events, gap_s=0.05)) as box,
        serving(config(box, head_s=2 * TICK_S)) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request(STREAMED), b"GET /hea")
        assert (await client.reply()).body == b"".join(events)
        await client.send(b"lth HTTP/1.1\r\n\r\n")
        assert (await client.reply()).status == 200


async def test_an_idle_connection_is_closed_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "KEEP_ALIVE_S", TICK_S)
    async with serving(Config()) as gateway, gateway.caller() as silent, gateway.caller() as client:
        await client.ask(None, path="/health", method="GET")
        assert await client.closed() == await silent.closed() == b""


async def test_a_caller_that_does_not_read_its_whole_reply_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "KEEP_ALIVE_S", 2 * TICK_S)
    for more in ((), ("Connection: close",)):
        async with (
            upstream(answers(200, b"[%b]" % (b"x" * 500_000))) as box,
            serving(config(box, reply_hold_bytes=1_000_000)) as gateway,
            gateway.caller(receive_buffer_bytes=4096) as client,
        ):
            await client.send(request(QUESTION, *more))
            await box.was_asked()
            async with asyncio.timeout(5):
                while gateway.server.callers.connections:  # noqa: ASYNC110  (the gateway tells nobody)
                    await asyncio.sleep(0.05)
            with pytest.raises(Cut):
                await client.reply()


# Errors, and what comes after them.


async def test_a_connection_is_good_for_more_after_an_error() -> None:
    async with upstream(answers(500, "{}"), says()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        asked: list[tuple[int, dict[str, Any]]] = [
            (404, {"path": "/nowhere", "method": "GET", "body": None}),
            (405, {"path": "/v1/models", "body": {}}),
            (405, {"method": "GET", "body": None}),
            (400, {"body": b"no JSON"}),
            (404, {"body": QUESTION | {"model": "unknown"}}),
            (500, {}),
            (200, {}),
        ]
        for status, one in asked:
            answer = await client.ask(**one)
            assert answer.status == status
            assert answer.header("connection") is None
            if status in (404, 405, 400):
                assert answer.error["message"]


async def test_a_fault_of_ours_is_logged_and_the_next_request_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: StatusEndpoints, scope: Scope) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(StatusEndpoints, "ready", broken)
    async with serving(Config()) as gateway, gateway.caller() as client:
        for _ in range(2):
            answer = await client.ask(None, path="/ready", method="GET")
            assert answer.status == 500
            assert b"ZeroDivisionError" not in answer.body
        assert (await client.ask(None, path="/health", method="GET")).status == 200
        assert [record.getMessage() for record in gateway.errors] == ["a request failed: GET /ready"] * 2
        gateway.errors.clear()


async def test_more_callers_than_allowed_are_refused_with_a_time_to_come_back() -> None:
    async with serving(config(callers=2)) as gateway, gateway.caller() as first, gateway.caller() as second:
        for client in (first, second):
            assert (await client.ask(None, path="/health", method="GET")).status == 200
        async with gateway.caller() as third:
            await third.send(HEALTH)
            answer = await told(third, 503, "overloaded")
            assert int(answer.header("retry-after") or "0") >= 1
        async with gateway.caller() as fourth:
            await fourth.send(request(QUESTION | {"padding": "x" * 50_000}) + HEALTH)
            assert (await fourth.reply()).status == 503
        second.leave()
        await _until_connected(gateway, 1)
        assert (await gateway.get("/health")).status == 200


async def _until_connected(gateway: Gateway, callers: int) -> None:
    async with asyncio.timeout(2):
        while len(gateway.server.callers.connections) > callers:  # noqa: ASYNC110  (the gateway tells nobody)
            await asyncio.sleep(0.01)


async def test_a_caller_that_leaves_as_it_asks_leaves_nothing_behind() -> None:
    async with upstream(hangs()) as box, serving(config(box)) as gateway:
        for _ in range(50):
            async with gateway.caller() as client:
                client.writer.write(request())
                client.writer.transport.close()
        await _until_connected(gateway, 0)


# The end.


async def test_a_reply_under_way_is_finished_before_the_end() -> None:
    events = [delta("one"), delta("two"), DONE]
    async with (
        upstream(streams(events, gap_s=0.1)) as box,
        serving(config(box)) as gateway,
        gateway.caller() as client,
        gateway.caller() as idle,
        gateway.caller() as half,
    ):
        await idle.ask(None, path="/health", method="GET")
        await half.send(b"GET /hea")
        await client.send(request(STREAMED))
        head = await client.head()
        gateway.stop()
        assert [piece async for piece in client.pieces(head)] == events
        assert await client.closed() == b""
        assert await idle.closed() == await half.closed() == b""
    assert gateway.server.callers.tasks == set()
    assert gateway.server.callers.connections == set()


async def test_nobody_is_let_in_at_the_end() -> None:
    async with upstream(hangs()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(request())
        await box.was_asked()
        gateway.stop()
        await asyncio.sleep(0.05)
        with pytest.raises(ConnectionError):
            async with gateway.caller():
                pass
        client.leave()
        await box.was_left()
