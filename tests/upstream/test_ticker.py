"""One clock for every time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from moltbot_edge.upstream.ticker import Ticker

pytestmark = pytest.mark.anyio


class Member:
    def __init__(self, does: Callable[[], None] = lambda: None) -> None:
        self.ticks = 0
        self.ticked = asyncio.Event()
        self._does = does

    def tick(self) -> None:
        self.ticks += 1
        self.ticked.set()
        self._does()


async def test_members_tick_until_they_leave() -> None:
    ticker = Ticker()
    leaving = Member(lambda: ticker.discard(leaving))
    staying = Member()
    ticker.add(leaving)
    ticker.add(staying)
    async with asyncio.timeout(5):
        while staying.ticks < 2:
            staying.ticked.clear()
            await staying.ticked.wait()
    assert leaving.ticks == 1
    ticker.stop()


async def test_it_wakes_for_who_comes_after_everybody_left() -> None:
    ticker = Ticker()
    first = Member(lambda: ticker.discard(first))
    ticker.add(first)
    async with asyncio.timeout(5):
        await first.ticked.wait()
        second = Member()
        ticker.add(second)
        await second.ticked.wait()
    ticker.stop()


async def test_a_member_may_bring_another() -> None:
    ticker = Ticker()
    second = Member()
    first = Member(lambda: ticker.add(second))
    ticker.add(first)
    async with asyncio.timeout(5):
        await second.ticked.wait()
    ticker.stop()


async def test_nobody_ticks_once_it_is_stopped() -> None:
    ticker = Ticker()
    member = Member()
    ticker.add(member)
    ticker.stop()
    await asyncio.sleep(0.3)
    assert member.ticks == 0
