"""The trial of ``scripts/crash`` in short: a gateway of its own process that is killed while sessions go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from crashing import gateway
from crashing.course import Found, Trial, run
from kept_sessions import RedisServer
from raw_caller import Answer, caller, request
from scripted_upstream import STREAM_HEAD, Upstream, chunk, delta, raw, says, upstream

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]
KILLS = 15
SESSION = "x-moltbot-session: talk"


async def test_a_kill_loses_no_turn_that_was_seen_and_none_is_kept_twice_or_half(tmp_path: Path) -> None:
    lost_nothing(await run(Trial(KILLS), tmp_path))


async def test_nor_does_a_box_that_loses_its_power(tmp_path: Path) -> None:
    assert shutil.which("cc"), "no C compiler: apt install gcc, as .ci/run does"
    lost_nothing(await run(Trial(KILLS, power=True, seed=2), tmp_path))


async def test_nor_do_two_gateways_whose_sessions_are_at_a_redis(tmp_path: Path, redis_server: RedisServer) -> None:
    lost_nothing(await run(Trial(KILLS, redis=redis_server.url, gateways=2, seed=3), tmp_path))


async def test_of_two_gateways_on_one_redis_one_is_killed_in_the_midst_and_the_other_goes_on(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    sessions = {"store": "redis", "url": redis_server.url}
    half = raw(STREAM_HEAD + chunk(delta("half")), then="hang")
    async with upstream(says("One."), half, says("Three."), says("Four.")) as box, contextlib.AsyncExitStack() as ends:
        first, other = (started(tmp_path, name, box, sessions, ends) for name in ("first", "other"))
        await asyncio.gather(first.serves(), other.serves())
        assert (await ask(first, "first")).status == 200
        async with caller(first.port) as cut:
            await cut.send(request({**asks("second"), "stream": True}, SESSION))
            assert b"half" in await anext(cut.pieces(await cut.head()))
            first.kill()
        third, fourth = await asyncio.gather(ask(other, "third"), ask(other, "fourth", "x-moltbot-session: apart"))
        assert (third.status, fourth.status) == (200, 200)
        asked = [[one["content"] for one in json.loads(one.body)["messages"]] for one in box.asked[2:]]
        assert sorted(asked) == [["first", "One.", "third"], ["fourth"]]


def started(
    folder: Path, name: str, box: Upstream, sessions: Mapping[str, str], ends: contextlib.AsyncExitStack
) -> gateway.Gateway:
    one = gateway.Gateway(folder, name, box.url, sessions, command=gateway.SOURCE, power=False)
    one.start()
    ends.callback(one.kill)
    return one


def asks(words: str) -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": words}]}


async def ask(one: gateway.Gateway, words: str, session: str = SESSION) -> Answer:
    async with caller(one.port) as client:
        return await client.ask(asks(words), session)


def lost_nothing(found: Found) -> None:
    assert found.faults == []
    assert found.kills == KILLS
    assert found.kept >= found.seen > KILLS
    assert found.cut > 0
    assert found.shown > found.seen
