"""Real children: how they end, what they leave, and that they cannot outlive their parent."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from living import killed_at_the_end, lives, oom_score_adj, until

from moltbot_edge.local.process import OOM_SCORE_ADJ, Child, environment_for, how_it_ended, spawn

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


async def python(does: str, **options: Any) -> Child:
    return await spawn((sys.executable, "-ISuc", textwrap.dedent(does)), environment={}, **options)


async def until_it_says(child: Child, word: str) -> None:
    await until(lambda: word in child.output.lines())


async def test_a_child_that_ends_leaves_its_last_words() -> None:
    lines: list[str] = []
    child = await python(
        "import sys; print('one'); print('two', file=sys.stderr, end=''); sys.exit(3)", on_line=lines.append
    )
    assert await child.ended() == 3
    assert child.output.lines() == lines == ["one", "two"]


async def test_a_child_is_ended_by_sigterm() -> None:
    child = await python("import time; print('up'); time.sleep(600)")
    await until_it_says(child, "up")
    assert await child.stop(60)
    assert await child.ended() == -signal.SIGTERM
    assert not lives(child.pid)


async def test_a_child_that_ignores_sigterm_is_killed_with_all_its_group() -> None:
    child = await python(
        """
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        below = os.fork()
        if below:
            print(below)
            print("up")
        time.sleep(600)
        """
    )
    await until_it_says(child, "up")
    below = int(child.output.lines()[0])
    assert await child.stop(0.1)
    assert await child.ended() == -signal.SIGKILL
    await until(lambda: not lives(below))


async def test_what_a_crashed_child_leaves_behind_is_ended_too() -> None:
    child = await python(
        """
        import os, time
        below = os.fork()
        if below:
            print(below)
            os.abort()
        time.sleep(600)
        """
    )
    assert await child.ended() == -signal.SIGABRT
    await until(lambda: not lives(int(child.output.lines()[0])))


async def test_an_endless_output_is_read_and_only_its_end_kept() -> None:
    child = await python("for number in range(20_000): print('line', number)")
    assert await child.ended() == 0
    lines = child.output.lines()
    assert lines[-1] == "line 19999"
    assert len(lines) < 2000


async def test_the_kernel_takes_a_child_before_its_parent() -> None:
    child = await python("import time; time.sleep(600)")
    assert oom_score_adj(child.pid) == OOM_SCORE_ADJ
    assert os.getpgid(child.pid) == os.getsid(child.pid) == child.pid
    child.kill()
    assert await child.ended() == -signal.SIGKILL


async def test_what_cannot_be_run_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    with pytest.raises(FileNotFoundError):
        await spawn((str(tmp_path / "none"),), environment={})
    with pytest.raises(PermissionError):
        await spawn((str(tmp_path / "text"),), environment={})


PARENT = """
import asyncio, ctypes, sys, types, uvloop
from moltbot_edge.local import process

{how}

async def main():
    child = await process.spawn(("/bin/sleep", "600"), environment={{}})
    print(child.pid, flush=True)
    await asyncio.sleep(600)

(uvloop.run if {uvloop} else asyncio.run)(main())
"""
WAYS = {
    # The module that the one-file binary has from its launcher, with the same effect.
    "launcher": """
prctl = ctypes.CDLL(None).prctl
native = types.ModuleType("moltbot_edge._native")
native.set_parent_death_signal = lambda number: prctl(1, number, 0, 0, 0)
sys.modules[native.__name__], sys.modules["ctypes"] = native, None
""",
    "ctypes": "",
    "setpriv": 'sys.modules["ctypes"] = None',
}


@pytest.mark.parametrize("how", WAYS)
async def test_a_child_dies_with_a_parent_that_is_killed(how: str, anyio_backend: tuple[str, dict[str, bool]]) -> None:
    source = PARENT.format(how=WAYS[how], uvloop=anyio_backend[1]["use_uvloop"])
    with killed_at_the_end(source) as said:
        pid = int(said.readline())
        assert lives(pid)
    await until(lambda: not lives(pid))


def test_an_environment_tells_an_engine_no_secrets(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    given = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "BOX_KEY": "secret", "LLAMA_API_KEY": "secret"}
    assert environment_for(program, given) == {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0"}


def test_libraries_beside_a_program_are_found_first(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/libllama.so.0").touch()
    (tmp_path / "bin/llama-server").touch()
    (tmp_path / "llama-server").symlink_to("bin/llama-server")
    found = environment_for(tmp_path / "llama-server", {"LD_LIBRARY_PATH": "/opt/cuda"})
    assert found == {"LD_LIBRARY_PATH": f"{tmp_path / 'bin'}:/opt/cuda"}


def test_an_end_is_said_in_words() -> None:
    assert how_it_ended(1) == "exited with status 1"
    assert how_it_ended(-11) == "was killed by SIGSEGV"
    assert "built for a processor" in how_it_ended(-4)
    assert "memory" in how_it_ended(-9)
    assert how_it_ended(-64) == "was killed by SIGRTMAX"
