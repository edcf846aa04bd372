"""Several callers of one session, at one gateway and at two: each waits its turn, none is lost and none doubled.

And callers who leave in the midst of one: whoever comes next has the session at once, and nothing half is in it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway, serving
from kept_sessions import RedisServer
from raw_caller import request
from scripted_upstream import (
    DONE,
    STREAM_HEAD,
    Script,
    Upstream,
    Visit,
    chunk,
    delta,
    hangs,
    raw,
    says,
    streams,
    upstream,
)

from moltbot_edge.config.schema import Config, Model, Sessions
from moltbot_edge.kernel.registry import BUILTINS

pytestmark = pytest.mark.anyio

SESSION = "x-moltbot-session: talk"
WRITERS = 32
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def asks(words: str, **more: Any) -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": words}], **more}


def heard(box: Upstream, place: int = -1) -> list[str]:
    return [one["content"] for one in json.loads(box.asked[place].body)["messages"]]


def config(box: Upstream, **sessions: Any) -> Config:
    return Config(model_registry=[Model(name="chat", endpoint=box.url)], sessions=Sessions(**sessions))


async def turns(gateway: Gateway, session: str = "talk") -> list[tuple[str, str]]:
    """What was asked and said, as the gateway shows it."""
    answer = await gateway.get(f"/v1/sessions/{session}/export")
    if answer.status == 404:
        return []
    found = [json.loads(line) for line in answer.body.splitlines()[1:]]
    assert [turn.get("parent") for turn in found] == [None, *(turn["id"] for turn in found[:-1])]
    return [(turn["messages"][-1]["parts"][0]["text"], turn["reply"]["parts"][0]["text"]) for turn in found]


@asynccontextmanager
async def two_gateways(server: RedisServer, *scripts: Script, **sessions: Any) -> AsyncIterator[Any]:
    async with upstream(*scripts) as box:
        settings = config(box, store="redis", url=server.url, **sessions)
        async with serving(settings) as one, serving(settings) as other:
            yield box, one, other


def once(freed: asyncio.Event, script: Script) -> Script:
    """*script*, as soon as *freed* is set."""

    async def waiting(visit: Visit) -> None:
        await freed.wait()
        await script(visit)

    return waiting


async def test_what_one_gateway_kept_another_goes_on_with(redis_server: RedisServer) -> None:
    async with two_gateways(redis_server, says("One."), says("Two."), says("Three.")) as (box, one, other):
        for gateway, words in ((one, "first"), (other, "second"), (one, "third")):
            assert (await gateway.ask(asks(words), SESSION)).status == 200
        assert heard(box) == ["first", "One.", "second", "Two.", "third"]
        assert await turns(other) == [("first", "One."), ("second", "Two."), ("third", "Three.")]


async def test_the_second_waits_its_turn_at_the_other_gateway(redis_server: RedisServer) -> None:
    freed = asyncio.Event()
    async with two_gateways(redis_server, once(freed, says("One.")), says("Two.")) as (box, one, other):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one.ask(asks("first"), SESSION))
            await box.was_asked()
            tasks.create_task(other.ask(asks("second"), SESSION))
            apart = await other.ask(asks("apart"), "x-moltbot-session: another")
            assert apart.status == 200
            assert len(box.asked) == 2
            freed.set()
        assert heard(box) == ["first", "One.", "second"]


async def test_or_is_refused_there(redis_server: RedisServer) -> None:
    freed = asyncio.Event()
    scripts = once(freed, says("One.")), says("Two.")
    async with two_gateways(redis_server, *scripts, busy="refuse") as (box, one, other):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one.ask(asks("first"), SESSION))
            await box.was_asked()
            refused = await other.ask(asks("second"), SESSION)
            freed.set()
        assert (refused.status, refused.error["code"]) == (409, "session_busy")
        assert (await other.ask(asks("second"), SESSION)).status == 200
        assert heard(box) == ["first", "One.", "second"]


def echoing(box: list[Upstream]) -> Script:
    async def script(visit: Visit) -> None:
        await says(f"To {heard(box[0])[-1]}.")(visit)

    return script


@pytest.mark.parametrize("store", sorted(BUILTINS["store"]))
async def test_of_many_writers_at_once_each_is_there_once(store: str, tmp_path: Path, request: Any) -> None:
    url = {"url": request.getfixturevalue("redis_server").url} if store == "redis" else {}
    boxes: list[Upstream] = []
    async with upstream(echoing(boxes)) as box:
        boxes.append(box)
        settings = config(box, store=store, path=str(tmp_path / "sessions"), **url)
        async with serving(settings, within_s=60) as one, serving(settings, within_s=60) as other:
            gateways = (one, other) if store == "redis" else (one, one)
            answers = await asyncio.gather(
                *(gateways[number % 2].ask(asks(f"{number}"), SESSION) for number in range(WRITERS))
            )
            assert Counter(answer.status for answer in answers) == {200: WRITERS}
            found = await turns(one)
            assert len({answer.header("x-moltbot-turn") for answer in answers}) == WRITERS
    assert sorted(found) == sorted((f"{number}", f"To {number}.") for number in range(WRITERS))
    # Each was asked after all that were kept before it.
    assert sorted(len(heard(box, place)) for place in range(WRITERS)) == list(range(1, 2 * WRITERS, 2))


LEAVING = ["aborts", "half-closes"]


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("store", ["disk", "redis"])
async def test_who_leaves_in_the_midst_leaves_nothing_half(
    how: str, stream: bool, store: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    half = raw(STREAM_HEAD + chunk(delta("half")), then="hang") if stream else hangs()
    async with upstream(says("One."), half, says("Two.")) as box:
        settings = config(box, store=store, path=str(tmp_path / "sessions"), url=redis_server.url)
        async with serving(settings) as gateway:
            await gateway.ask(asks("first"), SESSION)
            async with gateway.caller() as leaver:
                await leaver.send(request(asks("left", stream=stream), SESSION))
                await box.was_asked(2)
                waiting = asyncio.create_task(gateway.ask(asks("second"), SESSION))
                if stream:
                    assert b"half" in await anext(leaver.pieces(await leaver.head()))
                if how == "aborts":
                    leaver.leave()
                else:
                    leaver.writer.write_eof()
                assert (await waiting).status == 200
            assert heard(box) == ["first", "One.", "second"]
            assert await turns(gateway) == [("first", "One."), ("second", "Two.")]


@pytest.mark.parametrize("how", LEAVING)
async def test_who_leaves_while_it_waits_its_turn_is_passed_over(how: str, tmp_path: Path) -> None:
    freed = asyncio.Event()
    async with upstream(once(freed, says("One.")), says("Two.")) as box:
        async with serving(config(box, path=str(tmp_path))) as gateway, asyncio.TaskGroup() as tasks:
            tasks.create_task(gateway.ask(asks("first"), SESSION))
            await box.was_asked()
            async with gateway.caller() as leaver:
                await leaver.send(request(asks("left"), SESSION))
                third = tasks.create_task(gateway.ask(asks("second"), SESSION))
                await asyncio.sleep(0.05)
                if how == "aborts":
                    leaver.leave()
                else:
                    leaver.writer.write_eof()
                freed.set()
                assert (await third).status == 200
        assert [heard(box, place) for place in range(len(box.asked))] == [["first"], ["first", "One.", "second"]]


async def test_an_upstream_that_breaks_in_the_midst_leaves_nothing_half(tmp_path: Path) -> None:
    breaks = streams([delta("half")], then="reset", framing="close")
    async with upstream(breaks, says("One.")) as box, serving(config(box, path=str(tmp_path))) as gateway:
        broken = await gateway.ask(asks("first", stream=True), SESSION)
        assert b'"error"' in broken.body
        assert (await gateway.ask(asks("again"), SESSION)).status == 200
        assert await turns(gateway) == [("again", "One.")]


async def test_who_leaves_at_the_very_end_has_the_whole_turn_or_none(tmp_path: Path) -> None:
    """The reply has come, and is being kept."""
    whole = streams([delta("One."), FINISH, DONE])
    async with upstream(whole) as box, serving(config(box, path=str(tmp_path))) as gateway:
        for number in range(20):
            async with gateway.caller() as leaver:
                await leaver.send(request(asks(f"{number}", stream=True), SESSION))
                await box.was_asked(number + 1)
                await asyncio.sleep(0.001 * (number % 7))
                leaver.leave()
            kept = await turns(gateway)
            assert {said for _, said in kept} <= {"One."}
            assert len({asked for asked, _ in kept}) == len(kept)


async def test_a_whole_reply_is_kept_before_its_first_byte(tmp_path: Path) -> None:
    async with (
        upstream(says("One.")) as box,
        serving(config(box, path=str(tmp_path))) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request(asks("first"), SESSION))
        await client.reader.readexactly(1)
        assert await turns(gateway) == [("first", "One.")]
