"""Models of this board, as callers see them: waiting while one loads, hearing why one does not. Real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_engine import fake_engine
from gguf_file import chat_model
from harness import Gateway, serving
from raw_caller import QUESTION, request
from scripted_upstream import completion, says, upstream

from moltbot_edge.config.schema import Alias, Config, Engines, Limits, Model, Router

pytestmark = pytest.mark.anyio

STREAMED = QUESTION | {"stream": True}
TICK_S = 0.25


def settings(folder: Path, does: str, *more: Model, **engines: Any) -> Config:
    """The model `chat` is an engine that *does* this; `either` is that, then *more*."""
    file = folder / "small.gguf"
    file.write_bytes(chat_model())
    return Config(
        model_registry=[Model(name="chat", file=str(file)), *more],
        aliases={"either": Alias(models=["chat", *[model.name for model in more]])},
        engines=Engines(command=str(fake_engine(folder, does)), stop_s=2.0, **engines),
        router=Router(policy="round-robin"),
        limits=Limits(ping_after_s=TICK_S),
    )


def failed_as_meant(gateway: Gateway) -> None:
    """The log says so, once, and nothing else."""
    (record,) = gateway.errors
    assert record.getMessage().startswith("engine chat: it ")
    gateway.errors.clear()


async def test_a_stream_is_kept_open_while_its_engine_loads(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, "time.sleep(0.8); serve()")) as gateway, gateway.caller() as client:
        await client.send(request(STREAMED))
        pieces = [piece async for piece in client.pieces(await client.head())]
        assert pieces[0] == b": ping\n\n"
        assert pieces[-1] == b"data: {}\n\n"
        assert (await client.ask()).body == b"{}"  # it runs now
        metrics = await gateway.metrics()
        assert metrics["moltbot_attempts_total", "chat", "ok"] == 2
        assert metrics["moltbot_engine_state", "chat", "ready"] == 1


async def test_an_engine_that_does_not_start_says_why_and_when_to_come_back(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, "say('no such tensor'); sys.exit(1)")) as gateway:
        answer = await gateway.ask()
        assert (answer.status, answer.error["code"]) == (503, "engine_failed")
        assert "no such tensor" in answer.error["message"]
        assert int(answer.header("retry-after") or "0") >= 1
        failed_as_meant(gateway)


async def test_another_deployment_answers_for_an_engine_that_does_not_start(tmp_path: Path) -> None:
    async with upstream(says()) as box:
        remote = Model(name="remote", endpoint=box.url)
        async with serving(settings(tmp_path, "sys.exit(1)", remote)) as gateway:
            answer = await gateway.ask(QUESTION | {"model": "either"})
            assert answer.body == completion()
            assert answer.header("x-moltbot-deployment") == "remote"
            failed_as_meant(gateway)


async def test_a_failed_start_after_a_ping_is_an_error_event(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, "time.sleep(0.8); sys.exit(1)")) as gateway, gateway.caller() as client:
        await client.send(request(STREAMED))
        pieces = [piece async for piece in client.pieces(await client.head())]
        assert pieces[0] == b": ping\n\n"
        told = pieces[-1].split(b"\n\n")[0].removeprefix(b"data: ")
        assert json.loads(told)["error"]["code"] == "engine_failed"
        assert pieces[-1].endswith(b"data: [DONE]\n\n")
        failed_as_meant(gateway)


async def test_who_leaves_while_an_engine_loads_leaves_alone(tmp_path: Path) -> None:
    async with (
        serving(settings(tmp_path, "time.sleep(0.5); serve()")) as gateway,
        gateway.caller() as leaving,
        gateway.caller() as staying,
    ):
        for client in (leaving, staying):
            await client.send(request())
        await gateway.until(lambda metrics: metrics.get(("moltbot_in_flight", "chat")) == 2)
        leaving.leave()
        await gateway.until(lambda metrics: metrics["moltbot_in_flight", "chat"] == 1)
        assert (await staying.reply()).body == b"{}"


async def test_an_engine_that_died_is_started_again(tmp_path: Path) -> None:
    does = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); serve()"
    async with serving(settings(tmp_path, does)) as gateway:
        assert (await gateway.ask()).status == 200
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        async with asyncio.timeout(10):
            while (await gateway.ask()).status != 200:  # noqa: ASYNC110  (it rests first)
                await asyncio.sleep(0.1)
        failed_as_meant(gateway)


# It begins a reply and then does to itself what is told; the file is there once it has done that.
BREAKS = """
said = {sign!r}
with socket.create_server(("127.0.0.1", port)) as listener:
    while True:
        caller, _ = listener.accept()
        if not caller.recv(65536).startswith(b"POST"):
            caller.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n[]")
            caller.close()
        elif os.path.exists(said):
            caller.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{{}}")
            caller.close()
        else:
            head = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
            event = b'data: {{"choices":[{{"index":0,"delta":{{"content":"hi"}}}}]}}\\n\\n'
            caller.sendall(head + b"%x\\r\\n%b\\r\\n" % (len(event), event))
            say("lost a tensor")
            open(said, "w").close()
            {then}
"""


async def broken_reply(gateway: Gateway) -> dict[str, Any]:
    """The error that ends a stream after its first word."""
    async with gateway.caller() as client:
        await client.send(request(STREAMED))
        data = b"".join([piece async for piece in client.pieces(await client.head())])
    first, error, done = [event for event in data.split(b"\n\n") if not event.startswith(b":")][:3]  # no ping
    assert b'"hi"' in first
    assert done == b"data: [DONE]"
    found: dict[str, Any] = json.loads(error.removeprefix(b"data: "))["error"]
    return found


async def test_an_engine_that_dies_in_mid_reply_says_why_and_comes_back(tmp_path: Path) -> None:
    does = BREAKS.format(sign=str(tmp_path / "sign"), then="os.abort()")
    async with serving(settings(tmp_path, does)) as gateway:
        error = await broken_reply(gateway)
        assert error["code"] == "engine_failed"
        assert "killed by SIGABRT" in error["message"]
        assert error["message"].endswith("lost a tensor")
        async with asyncio.timeout(10):
            while (await gateway.ask()).status != 200:  # noqa: ASYNC110  (it rests first)
                await asyncio.sleep(0.1)
        failed_as_meant(gateway)


async def test_an_engine_that_stops_answering_in_mid_reply_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moltbot_edge.local.attendants.LISTENS_S", 0.05)
    monkeypatch.setattr("moltbot_edge.local.attendants.SLOTS_POLL_S", 0.1)
    monkeypatch.setattr("moltbot_edge.local.health.ASK_S", 0.2)
    does = BREAKS.format(sign=str(tmp_path / "sign"), then="os.kill(os.getpid(), signal.SIGSTOP)")
    stops = settings(tmp_path, does, stuck_s=0.5)
    stops = msgspec.structs.replace(stops, limits=Limits(between_bytes_s=0.5))
    async with serving(stops) as gateway:
        assert (await broken_reply(gateway))["code"] == "upstream_timeout"
        await gateway.until(lambda metrics: metrics.get(("moltbot_engine_evictions_total", "chat", "stuck")) == 1)
        assert (await gateway.ask()).status == 200
        failed_as_meant(gateway)
