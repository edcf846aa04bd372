"""What a bundle leaves behind: nothing; killed, its unpacked folder, but no process."""

from __future__ import annotations

import asyncio
import signal

import pytest
from binary.place import Place
from binary.processes import gateway_of, lives

pytestmark = [pytest.mark.anyio, pytest.mark.only("bundle")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_what_it_unpacked_is_gone_when_it_has_ended(place: Place, number: signal.Signals) -> None:
    place.put("/scratch/kept", "")
    scratch = {"TMPDIR": place.inside("/scratch")}
    with place.serving("--port", "0", environment=scratch) as gateway:
        gateway.process.signal(number)
        assert await gateway.ended() == 0
    assert [path.name for path in place.ground.outside("/scratch").iterdir()] == ["kept"]


async def test_no_gateway_stays_behind_when_its_first_process_is_killed(place: Place) -> None:
    place.put("/scratch/kept", "")
    scratch = {"TMPDIR": place.inside("/scratch")}
    with place.serving("--port", "0", environment=scratch) as gateway:
        serving = gateway_of(gateway.process.pid)
        gateway.kill()
        assert await gateway.ended() == -signal.SIGKILL
        async with asyncio.timeout(place.wait_s):
            while lives(serving):  # noqa: ASYNC110  (the kernel tells nobody but the parent)
                await asyncio.sleep(0.01)
