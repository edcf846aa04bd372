"""What a caller, or an upstream, cannot make the gateway hold."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness import config, serving
from raw_caller import CHAT, QUESTION, request
from scripted_upstream import STREAM_HEAD, answers, chunk, delta, raw, says, upstream

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
LARGE = QUESTION | {"stream": True, "padding": "x" * (4 * MIB)}
IN_CHUNKS = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
WHOLE = chunk(b'{"model":"chat"}')


@contextmanager
def memory() -> Iterator[None]:
    """Counted from here on, and nothing of it collected for being in a circle."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        gc.enable()


async def test_a_body_is_let_go_once_its_reply_has_begun() -> None:
    answering = raw(STREAM_HEAD, chunk(delta("a")), then="hang")
    async with upstream(answering) as box, serving(config(box)) as gateway, gateway.caller() as client:
        with memory():
            await client.send(request(LARGE))
            async for _ in client.pieces(await client.head()):
                break
            assert tracemalloc.get_traced_memory()[0] < 6 * MIB  # one copy is the upstream's


async def test_a_body_is_let_go_where_its_upstream_failed() -> None:
    async with upstream(raw(b"", then="close")) as box, serving(config(box)) as gateway:
        with memory():
            for _ in range(2):
                assert (await gateway.ask(LARGE)).status == 502
            box.asked.clear()
            assert tracemalloc.get_traced_memory()[0] < 2 * MIB


@pytest.mark.parametrize("sent", [b"\r\n" + b"a: b\r\n" * 30_000, b"\r\na: " + b"b" * 200_000, b";" + b"a" * 200_000])
async def test_what_follows_a_body_without_end_is_refused(sent: bytes) -> None:
    async with upstream(says()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(IN_CHUNKS + WHOLE + b"0" + sent)
        answer = await client.reply()
        assert (answer.status, answer.header("connection")) == (400, "close")
        assert not box.asked


async def test_trailers_are_no_headers() -> None:
    async with upstream(says()) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(IN_CHUNKS + WHOLE + b"0\r\nX-Request-Id: late\r\n\r\n")
        assert (await client.reply()).status == 200
        assert box.asked[0].header("x-request-id") is None


async def test_who_takes_no_replies_gets_no_more_of_them() -> None:
    times = 400
    async with serving(config()) as gateway, gateway.caller(receive_buffer_bytes=4096) as client:
        client.writer.write(request(None, path="/metrics", method="GET") * times)
        served, before = 1, 0
        while served != before:
            await asyncio.sleep(0.1)
            before, served = served, gateway.server.callers.served
        assert 0 < served < times / 2
        for _ in range(times):
            assert (await client.reply()).status == 200


async def test_a_name_longer_than_any_models_is_not_said_again() -> None:
    async with serving(config()) as gateway:
        answer = await gateway.ask({"model": "\x7f" * MIB})
        assert (answer.status, answer.error["param"]) == (400, "model")
        assert len(answer.body) < 1000


async def test_a_time_to_come_back_that_is_none_is_left_out() -> None:
    async with upstream(answers(503, b"{}", f"Retry-After: {'9' * 400}")) as box, serving(config(box)) as gateway:
        answer = await gateway.ask()
        assert (answer.status, answer.header("retry-after")) == (503, None)
