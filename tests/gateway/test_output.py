"""The caller's side of an exchange: kept open while nothing comes, never fuller than bounded, left at any time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from harness import config, serving
from openai import AsyncOpenAI
from raw_caller import QUESTION, Answer, Caller, Cut, request
from scripted_upstream import (
    DONE,
    STREAM_HEAD,
    Script,
    Upstream,
    Visit,
    answers,
    chunk,
    completion,
    delta,
    hangs,
    never_accepting,
    raw,
    says,
    streams,
    upstream,
)

pytestmark = pytest.mark.anyio

STREAMED = QUESTION | {"stream": True}
BOTH = pytest.mark.parametrize("body", [QUESTION, STREAMED], ids=["whole", "streamed"])
PING = b": ping\n\n"
TICK_S = 0.25


class Told:
    """A script that waits with each of its parts until it is told."""

    def __init__(self, *parts: Script) -> None:
        self._parts = parts
        self._next = asyncio.Event()

    def go_on(self) -> None:
        self._next.set()

    async def __call__(self, visit: Visit) -> None:
        for part in self._parts:
            await self._next.wait()
            self._next.clear()
            await part(visit)


async def pinged(client: Caller, times: int = 1) -> bytes:
    """What has come once so many pings have."""
    got = b""
    while got.count(chunk(PING)) < times:
        got += await client.reader.readuntil(PING + b"\r\n")
    return got


async def rest_of_stream(client: Caller) -> Answer:
    """The events after those that were read already."""
    pieces = [piece async for piece in client.pieces(Answer(200, [("transfer-encoding", "chunked")]))]
    return Answer(200, [], b"".join(pieces))


# Silence.


async def test_a_silent_upstream_leaves_a_stream_open_with_pings() -> None:
    script = Told(raw(STREAM_HEAD, chunk(delta("one")), then="keep"), raw(chunk(DONE), chunk(b""), then="keep"))
    async with upstream(script) as box, serving(config(box, ping_after_s=TICK_S)) as gateway:
        async with gateway.caller() as client:
            await client.send(request(STREAMED))
            head = await client.head()
            assert head.status == 200
            assert head.header("content-type") == "text/event-stream; charset=utf-8"
            assert await pinged(client, 2) == chunk(PING) * 2
            script.go_on()
            assert await pinged(client) == chunk(delta("one")) + chunk(PING)
            script.go_on()
            assert (await rest_of_stream(client)).body == DONE
        assert (await gateway.metrics())["moltbot_pings_total",] == 3


async def test_a_lively_stream_gets_no_pings() -> None:
    events = [delta(str(number)) for number in range(20)]
    async with upstream(streams(events, gap_s=0.04)) as box, serving(config(box, ping_after_s=2 * TICK_S)) as gateway:
        assert (await gateway.ask(STREAMED)).body == b"".join(events)


async def test_a_reply_that_was_not_to_be_a_stream_gets_no_pings() -> None:
    script = Told(says())
    async with (
        upstream(script) as box,
        serving(config(box, ping_after_s=TICK_S)) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request())
        await box.was_asked()
        await asyncio.sleep(2 * TICK_S)
        script.go_on()
        assert (await client.reply()).body == completion()


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (raw(), "upstream_closed"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), "upstream_truncated_reply"),
        (raw(STREAM_HEAD), "upstream_truncated_reply"),
        (raw(b"nonsense\r\n"), "upstream_invalid_reply"),
        (answers(429, '{"error": {"message": "slow down"}}', "Retry-After: 3"), "upstream_refused"),
        (answers(400, '{"error": {"message": "wrong"}}'), "upstream_refused"),
        (answers(200, b"x" * 200_000), "upstream_invalid_reply"),
    ],
    ids=["closes", "short", "short-stream", "nonsense", "busy", "refused", "long-and-no-stream"],
)
async def test_a_failure_after_a_ping_is_an_error_event(failure: Script, code: str) -> None:
    script = Told(failure)
    async with (
        upstream(script) as box,
        serving(config(box, ping_after_s=TICK_S, event_bytes=100_000)) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request(STREAMED))
        await client.head()
        await pinged(client)
        script.go_on()
        told, done = (await rest_of_stream(client)).data
        assert json.loads(told)["error"]["code"] == code
        assert done == b"[DONE]"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [1, 200_000])
async def test_a_whole_reply_after_a_ping_is_one_event(framing: Any, size: int) -> None:
    body = json.dumps({"text": "x" * size, "more": [1, 2]}, indent=2)
    script = Told(answers(200, body, framing=framing))
    async with (
        upstream(script) as box,
        serving(config(box, ping_after_s=TICK_S)) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request(STREAMED))
        await client.head()
        await pinged(client)
        script.go_on()
        event = (await rest_of_stream(client)).body
        lines = event.removesuffix(b"\n\n").split(b"\n")
        assert b"\n".join(line.removeprefix(b"data: ") for line in lines).decode() == body


async def test_another_deployment_may_answer_after_a_ping() -> None:
    script = Told(raw())
    async with (
        upstream(script) as bad,
        upstream(streams([delta("hi"), DONE])) as good,
        serving(config(bad, good, ping_after_s=TICK_S)) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request(STREAMED))
        await client.head()
        await pinged(client)
        script.go_on()
        assert (await rest_of_stream(client)).body == delta("hi") + DONE


async def test_the_openai_client_does_not_see_pings() -> None:
    script = Told(streams([delta("hi"), DONE]))
    async with (
        upstream(script) as box,
        serving(config(box, ping_after_s=TICK_S)) as gateway,
        AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hello"}], stream=True
        )  # begun by a ping
        script.go_on()
        assert [part.choices[0].delta.content async for part in stream] == ["hi"]


# Callers that leave.


async def left_upstream(box: Upstream, client: Caller) -> None:
    await box.was_asked()
    client.leave()
    await box.was_left()


@BOTH
@pytest.mark.parametrize(
    ("script", "phase"),
    [
        (hangs(), "waiting"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Le", then="hang"), "waiting"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", then="hang"), "streaming"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100_000, then="hang"), "streaming"),
        (raw(STREAM_HEAD + chunk(delta("one")), then="hang"), "streaming"),
        (raw(STREAM_HEAD + chunk(b"data: half"), then="hang"), "streaming"),
    ],
    ids=["no-byte", "half-a-head", "half-a-reply", "half-a-long-reply", "an-event", "half-an-event"],
)
async def test_a_caller_that_leaves_frees_the_upstream(script: Script, phase: str, body: Any) -> None:
    async with upstream(script) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(request(body))
        await box.was_asked()
        await asyncio.sleep(0.02)  # for what the script sends
        client.leave()
        await box.was_left()
        await gateway.until(lambda metrics: metrics.get(("moltbot_callers_gone_total", phase)) == 1)


@BOTH
async def test_a_caller_that_closes_its_side_has_left(body: Any) -> None:
    async with upstream(hangs()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(request(body))
        await box.was_asked()
        client.writer.write_eof()
        await box.was_left()
        assert await client.closed() == b""


async def test_a_caller_that_leaves_after_a_ping_frees_the_upstream() -> None:
    async with (
        upstream(hangs()) as box,
        serving(config(box, ping_after_s=TICK_S)) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request(STREAMED))
        await client.head()
        await pinged(client)
        client.leave()
        await box.was_left()


@BOTH
async def test_a_caller_that_leaves_the_line_is_not_served(body: Any) -> None:
    async with (
        upstream(hangs(), says()) as box,
        serving(config(box, connections=1)) as gateway,
        gateway.caller() as first,
        gateway.caller() as second,
    ):
        await first.send(request(body))
        await box.was_asked()
        await second.send(request(body))
        waiting = ("moltbot_upstream_waiting", f"127.0.0.1:{box.port}")
        await gateway.until(lambda metrics: metrics[waiting] == 1)
        second.leave()
        await gateway.until(lambda metrics: metrics[waiting] == 0)
        first.leave()
        await box.was_left()
        assert len(box.asked) == 1


@BOTH
async def test_a_caller_that_leaves_while_connecting_frees_the_place(body: Any) -> None:
    with never_accepting() as nowhere:
        async with serving(config(nowhere)) as gateway, gateway.caller() as client:
            await client.send(request(body))
            in_flight = ("moltbot_in_flight", "chat")
            await gateway.until(lambda metrics: metrics.get(in_flight) == 1)
            client.leave()
            await gateway.until(lambda metrics: metrics[in_flight] == 0)


async def test_a_caller_that_leaves_is_not_the_deployments_fault() -> None:
    async with upstream(hangs(), says()) as one, upstream(says()) as two, serving(config(one, two)) as gateway:
        async with gateway.caller() as client:
            await client.send(request())
            await left_upstream(one, client)
        for _ in range(2):
            await gateway.ask()
        assert len(one.asked) == 2


# Callers that read slowly.

EVERYTHING = 50_000_000
PIECE = b"data: " + b"x" * 49_992 + b"\n\n"
FLOODS: dict[str, Script] = {
    "stream": streams([PIECE] * (EVERYTHING // len(PIECE))),
    "whole": raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % EVERYTHING,
        *[PIECE] * (EVERYTHING // len(PIECE)),
        then="keep",
    ),
}
AHEAD_BYTES = 2_000_000  # what three sockets' kernel buffers and the gateway may hold together


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_caller_that_reads_slowly_holds_bounded_memory(kind: str) -> None:
    async with (
        upstream(FLOODS[kind]) as box,
        serving(config(box)) as gateway,
        gateway.caller(receive_buffer_bytes=64 * 1024) as client,
    ):
        await client.send(request(STREAMED))
        head = await client.head()
        await asyncio.sleep(0.1)
        assert box.visits[0].sent_bytes < AHEAD_BYTES
        got = 0
        pieces = client.pieces(head) if kind == "stream" else slowly(client, EVERYTHING)
        async for piece in pieces:
            got += len(piece)
            assert box.visits[0].sent_bytes - got < AHEAD_BYTES
            assert held_by(gateway.server.callers.connections) < 400_000
        assert got == EVERYTHING


async def slowly(client: Caller, size: int) -> Any:
    while size:
        piece = await client.reader.read(100_000)
        size -= len(piece)
        yield piece


def held_by(connections: Any) -> int:
    """What the gateway itself holds for its callers, beside the kernel."""
    return sum(connection.transport.get_write_buffer_size() for connection in connections)


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_caller_that_never_reads_is_dropped(kind: str) -> None:
    async with (
        upstream(FLOODS[kind]) as box,
        serving(config(box, client_stall_s=2 * TICK_S)) as gateway,
        gateway.caller(receive_buffer_bytes=64 * 1024) as client,
    ):
        await client.send(request(STREAMED))
        await box.was_asked()
        await gateway.until(lambda metrics: metrics.get(("moltbot_callers_gone_total", "streaming")) == 1)
        await box.was_left()
        with pytest.raises(Cut):
            await client.reply()


async def test_a_caller_that_reads_a_little_now_and_then_is_kept() -> None:
    events = [PIECE] * 40
    async with (
        upstream(streams(events)) as box,
        serving(config(box, client_stall_s=2 * TICK_S)) as gateway,
        gateway.caller(receive_buffer_bytes=64 * 1024) as client,
    ):
        await client.send(request(STREAMED))
        got = 0
        async for piece in client.pieces(await client.head()):
            got += len(piece)
            await asyncio.sleep(0.03)  # all of it takes longer than a stall may
        assert got == len(PIECE) * 40


async def test_a_slow_caller_gets_no_pings_between_what_it_has_not_read() -> None:
    async with upstream(FLOODS["stream"]) as box, serving(config(box, ping_after_s=TICK_S)) as gateway:
        async with gateway.caller(receive_buffer_bytes=64 * 1024) as client:
            await client.send(request(STREAMED))
            await box.was_asked()
            await asyncio.sleep(3 * TICK_S)
            client.leave()
        assert (await gateway.metrics())["moltbot_pings_total",] == 0
