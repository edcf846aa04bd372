"""Memory for conversations: one goes over the limit, the others wait, and nobody waits for who waits for him."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway, serving
from raw_caller import request
from scripted_upstream import hangs, says, upstream

from moltbot_edge.config.schema import Config, Limits, Model, Sessions
from moltbot_edge.core.errors import Overloaded
from moltbot_edge.gateway.room import Room, Share

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


async def inside(room: Room, size: int, lasting: int = 0) -> Share:
    await room.enter()
    return room.entered(size, lasting)


async def told() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_one_goes_over_the_limit_and_the_next_waits_for_it() -> None:
    room = Room(10, wait_s=60, waiters=8)
    small, large = await inside(room, 8), await inside(room, 100)
    waiting = [asyncio.ensure_future(inside(room, size)) for size in (50, 1)]
    await told()
    assert room.held_bytes == 108
    small.end()
    await told()
    assert room.held_bytes == 100
    large.end()
    await told()
    assert (room.held_bytes, waiting[1].done()) == (50, False)
    (await waiting[0]).end()
    (await waiting[1]).end()
    assert room.held_bytes == 0


async def test_they_come_in_one_by_one_and_what_fails_to_load_holds_nobody_up() -> None:
    room = Room(10, wait_s=60, waiters=8)
    await room.enter()
    waiting = [asyncio.ensure_future(room.enter()) for _ in range(3)]
    await told()
    assert not any(one.done() for one in waiting)
    waiting[0].cancel()
    room.entered(0, 0)
    await told()
    assert [one.done() for one in waiting] == [True, True, False]
    room.entered(0, 0)
    await waiting[2]
    room.entered(0, 0)


async def test_who_leaves_just_as_it_is_let_in_lets_the_next_one_in() -> None:
    room = Room(10, wait_s=60, waiters=8)
    await room.enter()
    first, second = (asyncio.ensure_future(room.enter()) for _ in range(2))
    await told()
    room.entered(0, 0)
    first.cancel()
    await told()
    assert first.cancelled()
    await second
    room.entered(0, 0)


async def test_what_is_new_is_held_until_the_end() -> None:
    room = Room(10, wait_s=60, waiters=8)
    share = await inside(room, 9, lasting=2)
    share.drop()
    share.drop()
    assert room.held_bytes == 2
    share.end()
    share.end()
    assert room.held_bytes == 0


async def test_it_refuses_after_its_wait_and_where_too_many_wait() -> None:
    room = Room(10, wait_s=0.01, waiters=1)
    share = await inside(room, 11)
    waiting = asyncio.ensure_future(room.enter())
    await told()
    with pytest.raises(Overloaded, match="too many"):
        await room.enter()
    with pytest.raises(Overloaded, match="at_work_mb"):
        await waiting
    share.end()
    await room.enter()
    room.entered(0, 0)


def config(folder: Path, url: str, **limits: Any) -> Config:
    return Config(
        model_registry=[Model(name="chat", endpoint=url)],
        sessions=Sessions(path=str(folder), session_mb=4, at_work_mb=1),
        limits=Limits(**limits),
    )


def asks(words: str) -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": words}]}


async def grows(gateway: Gateway, session: str) -> None:
    assert (await gateway.ask(asks("x" * MIB), f"x-moltbot-session: {session}")).status == 200


async def test_a_large_conversation_at_work_holds_up_large_ones_and_no_request_without_a_session(
    tmp_path: Path,
) -> None:
    async with (
        upstream(says("1"), says("2"), hangs(), says("3")) as box,
        serving(config(tmp_path, box.url, body_wait_s=0.2)) as gateway,
        gateway.caller() as first,
    ):
        for session in ("one", "two"):
            await grows(gateway, session)
        await first.send(request(asks("and?"), "x-moltbot-session: one"))
        await box.was_asked(3)
        refused = await gateway.ask(asks("and?"), "x-moltbot-session: two")
        assert (refused.status, refused.header("retry-after")) == (503, "5")
        assert "sessions.at_work_mb" in refused.error["message"]
        assert (await gateway.ask(asks("hello"))).status == 200
        first.leave()
        await gateway.is_empty()
        assert (await gateway.ask(asks("and?"), "x-moltbot-session: two")).status == 200
