"""The trial of ``scripts/crash`` in short: a gateway of its own process that is killed while sessions go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from crashing.course import Found, Trial, run
from kept_sessions import RedisServer

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]
KILLS = 15


async def test_a_kill_loses_no_turn_that_was_seen_and_none_is_kept_twice_or_half(tmp_path: Path) -> None:
    lost_nothing(await run(Trial(KILLS), tmp_path))


async def test_nor_does_a_box_that_loses_its_power(tmp_path: Path) -> None:
    assert shutil.which("cc"), "no C compiler: apt install gcc, as .ci/run does"
    lost_nothing(await run(Trial(KILLS, power=True, seed=2), tmp_path))


async def test_nor_a_gateway_whose_sessions_are_at_a_redis(tmp_path: Path, redis_server: RedisServer) -> None:
    lost_nothing(await run(Trial(KILLS, redis=redis_server.url, seed=3), tmp_path))


def lost_nothing(found: Found) -> None:
    assert found.faults == []
    assert found.kills == KILLS
    assert found.kept >= found.seen > KILLS
    assert found.cut > 0
    assert found.shown > found.seen
