"""Callers over TLS get what others get."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from harness import Gateway, config, serving
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from raw_caller import CHAT, QUESTION, Cut, request
from scripted_upstream import DONE, Upstream, completion, delta, hangs, raw, says, streams, upstream

from moltbot_edge.config.schema import Server, Tls

pytestmark = pytest.mark.anyio

STREAMED = QUESTION | {"stream": True}
TICK_S = 0.25


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def over_tls(authority: trustme.CA, tmp_path: Path) -> Any:
    issued = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(str(key))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(cert), append=True)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    @asynccontextmanager
    async def serve(box: Upstream | str, **limits: Any) -> AsyncIterator[Gateway]:
        settings = msgspec.structs.replace(config(box, **limits), server=Server(tls=Tls(cert=str(cert), key=str(key))))
        async with serving(settings, callers_tls=trusting) as gateway:
            yield gateway

    return serve


async def test_replies_whole_and_streamed(over_tls: Any, authority: trustme.CA) -> None:
    long = b"x" * 500_000
    whole = raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(long) + long, then="keep")
    async with upstream(says(), streams([delta("hi"), DONE]), whole, says()) as box, over_tls(box) as gateway:
        async with gateway.caller() as client:
            assert (await client.ask()).body == completion()
            assert (await client.ask(STREAMED)).body == delta("hi") + DONE
            assert (await client.ask()).body == long
            assert (await client.ask(QUESTION | {"padding": "x" * 500_000})).body == completion()
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with AsyncOpenAI(
            base_url=f"{gateway.url}/v1",
            api_key="none",
            max_retries=0,
            http_client=DefaultAsyncHttpxClient(verify=trusting),
        ) as client:
            reply = await client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hello"}])
            assert reply.choices[0].message.content == "hi"


async def test_who_leaves_frees_the_upstream(over_tls: Any) -> None:
    async with upstream(hangs()) as box, over_tls(box) as gateway:
        for body in (QUESTION, STREAMED):
            async with gateway.caller() as client:
                await client.send(request(body))
                await box.was_asked()
                client.leave()
                await box.was_left()


async def test_a_long_reply_that_breaks_off_is_cut(over_tls: Any) -> None:
    async with (
        upstream(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)) as box,
        over_tls(box) as gateway,
    ):
        with pytest.raises(Cut):
            await gateway.ask()


@pytest.mark.parametrize("sent_bytes", [0, 300_000])
async def test_a_refusal_reaches_a_caller_that_is_still_sending(over_tls: Any, sent_bytes: int) -> None:
    async with over_tls("http://unused", body_bytes=100_000) as gateway, gateway.caller() as client:
        await client.send(f"POST {CHAT} HTTP/1.1\r\nContent-Length: 300000\r\n\r\n".encode())
        await client.send(*[b"x" * 50_000] * (sent_bytes // 50_000))
        answer = await client.reply()
        assert (answer.status, answer.error["code"]) == (413, "body_too_large")


async def test_a_caller_that_never_reads_is_dropped(over_tls: Any) -> None:
    flood = streams([b"data: " + b"x" * 49_992 + b"\n\n"] * 400)
    async with (
        upstream(flood) as box,
        over_tls(box, client_stall_s=2 * TICK_S) as gateway,
        gateway.caller(receive_buffer_bytes=64 * 1024) as client,
    ):
        await client.send(request(STREAMED))
        await box.was_asked()
        await gateway.until(lambda metrics: metrics.get(("moltbot_callers_gone_total", "streaming")) == 1)
        await box.was_left()


async def test_who_speaks_no_tls_is_turned_away(over_tls: Any) -> None:
    async with over_tls("http://unused") as gateway:
        plain = Gateway(gateway.server, gateway.port, None, [], None)
        async with plain.caller() as client:
            await client.send(request(None, path="/health", method="GET"))
            assert b"200" not in await client.closed()
        assert (await gateway.get("/health")).status == 200
