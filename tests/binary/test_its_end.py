"""How it ends: what is under way is finished, what it started is ended, and whoever kills it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest
from binary.engine import SAYS, with_engine
from binary.place import Place
from binary.processes import children, environment, gateway_of, lives
from raw_caller import QUESTION, request
from scripted_upstream import DONE, STREAM_HEAD, Visit, chunk, delta, upstream

pytestmark = pytest.mark.anyio

PATH = {"PATH": os.defpath}  # where nothing but a shell's tools can tie an engine to its gateway


async def test_a_reply_under_way_is_finished_first(place: Place) -> None:
    told, resume = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.send(STREAM_HEAD + chunk(delta("a beginning")))
        told.set()
        await resume.wait()
        await visit.send(chunk(delta("an end")) + chunk(DONE) + chunk(b""))

    async with upstream(script) as near:
        file = place.put("/moltbot.yaml", json.dumps({"model_registry": [{"name": "chat", "endpoint": near.url}]}))
        with place.serving("--config", file, "--port", "0") as gateway:
            async with asyncio.timeout(place.wait_s), gateway.caller() as caller:
                await caller.send(request({**QUESTION, "stream": True}))
                head = await caller.head()
                await told.wait()
                gateway.terminate()
                await gateway.until_refusing()
                resume.set()
                body = b"".join([piece async for piece in caller.pieces(head)])
            assert await gateway.ended() == 0
    assert b"an end" in body
    assert body.endswith(DONE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_it_ends_cleanly_when_told(place: Place, number: signal.Signals) -> None:
    with place.serving("--port", "0") as gateway:
        gateway.process.signal(number)
        assert await gateway.ended() == 0
    assert "Traceback" not in gateway.said()


async def test_an_engine_answers_and_ends_with_the_gateway(place: Place) -> None:
    with place.serving("--config", with_engine(place), "--port", "0", environment=PATH) as gateway:
        answer = await gateway.ask({**QUESTION, "model": "small"})
        assert answer.status == 200, (answer.body, gateway.said())
        assert answer.json["choices"][0]["message"]["content"] == SAYS
        engines = children(gateway_of(gateway.process.pid))
        assert len(engines) == 1
        gateway.terminate()
        assert await gateway.ended() == 0
        assert not any(map(lives, engines))


async def test_an_engine_is_told_of_no_libraries_but_the_systems(place: Place) -> None:
    with place.serving("--config", with_engine(place), "--port", "0", environment=PATH) as gateway:
        assert (await gateway.ask({**QUESTION, "model": "small"})).status == 200, gateway.said()
        (engine,) = children(gateway_of(gateway.process.pid))
        assert "LD_LIBRARY_PATH" not in environment(engine)


async def test_an_engine_ends_although_the_gateway_was_killed(place: Place) -> None:
    with place.serving("--config", with_engine(place), "--port", "0", environment=PATH) as gateway:
        assert (await gateway.ask({**QUESTION, "model": "small"})).status == 200, gateway.said()
        engines = children(gateway_of(gateway.process.pid))
        assert len(engines) == 1
        gateway.kill()
        assert await gateway.ended() == -signal.SIGKILL
        async with asyncio.timeout(place.wait_s):
            while any(map(lives, engines)):  # noqa: ASYNC110  (the kernel tells nobody but the parent)
                await asyncio.sleep(0.01)


async def test_an_engine_that_ends_is_started_again(place: Place) -> None:
    with place.serving("--config", with_engine(place), "--port", "0", environment=PATH) as gateway:
        assert (await gateway.ask({**QUESTION, "model": "small"})).status == 200, gateway.said()
        (engine,) = children(gateway_of(gateway.process.pid))
        os.kill(engine, signal.SIGKILL)
        await gateway.until_said("was killed by SIGKILL")
        again = await gateway.ask({**QUESTION, "model": "small"})
        while again.status == 503:
            await asyncio.sleep(float(again.header("retry-after") or 1))
            again = await gateway.ask({**QUESTION, "model": "small"})
    assert again.status == 200
