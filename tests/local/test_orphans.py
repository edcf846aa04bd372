"""What an engine or a gateway left behind. Real processes, with real environments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from living import lives, until

from moltbot_edge.local import orphans
from moltbot_edge.local.orphans import MARK, Gateway, end_orphans, end_rest, this_gateway

pytestmark = pytest.mark.anyio

LEAVES_ONE_BEHIND = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""


@contextmanager
def marked(mark: str | None, source: str = "import time; time.sleep(600)") -> Iterator[subprocess.Popen[bytes]]:
    environment = {"PATH": os.defpath} | ({} if mark is None else {MARK: mark})
    with subprocess.Popen([sys.executable, "-IS", "-c", source], env=environment, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def gone() -> Gateway:
    """One whose process has ended: ours, but it began at another time."""
    return msgspec.structs.replace(this_gateway(), began=1)


async def test_what_a_dead_gateway_left_is_ended_and_nothing_else() -> None:
    here = this_gateway()
    with (
        marked(gone().mark("small")) as orphan,
        marked(here.mark("small")) as ours,
        marked(None) as bare,
        marked(msgspec.structs.replace(gone(), boot="another").mark("small")) as of_another_boot,
        marked(msgspec.structs.replace(gone(), namespace="pid:[1]").mark("small")) as of_another_container,
        marked("nonsense") as strange,
    ):
        assert orphan.pid in await end_orphans(here)
        assert orphan.wait() == -signal.SIGKILL
        for other in (ours, bare, of_another_boot, of_another_container, strange):
            assert other.poll() is None
        assert orphan.pid not in await end_orphans(here)


async def test_a_living_gateways_engines_are_not_orphans() -> None:
    with marked(None) as living:
        other = as_of(living.pid)
        with marked(other.mark("small")) as engine:
            assert engine.pid not in await end_orphans(this_gateway())
            assert engine.poll() is None
            living.kill()
            living.wait()
            assert engine.pid in await end_orphans(this_gateway())


async def test_a_zombie_is_no_living_gateway() -> None:
    with marked(None) as dying:
        other = as_of(dying.pid)
        dying.kill()
        await until(lambda: not lives(dying.pid))
        with marked(other.mark("small")) as engine:
            assert engine.pid in await end_orphans(this_gateway())


async def test_what_an_engine_started_in_a_session_of_its_own_goes_with_it() -> None:
    mark = this_gateway().mark("small 1")
    with marked(mark, LEAVES_ONE_BEHIND) as engine, marked(this_gateway().mark("small 2")) as other:
        assert engine.stdout is not None
        pids = [int(engine.stdout.readline()), int(engine.stdout.readline())]
        engine.kill()
        engine.wait()
        (left,) = [pid for pid in pids if pid != engine.pid]
        assert lives(left)
        assert await end_rest(mark) == [left]
        assert not lives(left)
        assert other.poll() is None


def test_a_mark_is_read_back_as_it_was_written() -> None:
    here = this_gateway()
    assert here.pid == os.getpid()
    assert here.boot
    assert here.namespace
    assert here.began
    assert orphans._owner(here.mark("a/b c")) == here
    assert orphans._owner("") is None


def as_of(pid: int) -> Gateway:
    """What the gateway would be whose process is *pid*."""
    return msgspec.structs.replace(this_gateway(), pid=pid, began=orphans._began(pid, orphans.PROC))
