"""Engines that misbehave, and what their callers are told. Real processes; `test_real_engine` has the real program."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_engine import fake_engine
from gguf_file import chat_model as chat_model_bytes
from living import processes_with, until

from moltbot_edge.config.schema import Engines
from moltbot_edge.core.errors import EngineFailed
from moltbot_edge.local.health import is_ready
from moltbot_edge.local.launch import free_port
from moltbot_edge.local.lifecycle import Event
from moltbot_edge.local.supervisor import Change, EngineModel, Supervisor

pytestmark = pytest.mark.anyio
LOG = logging.getLogger("test")


class Changes(list[Change]):
    """What metrics would be told."""

    def count_of(self, event: Event, name: str = "small") -> int:
        return sum(change.event is event and change.name == name for change in self)


def supervised(program: Path | str, *models: Path, changes: Changes | None = None, **engines: Any) -> Supervisor:
    heard = changes if changes is not None else Changes()
    return Supervisor(
        Engines(command=str(program), stop_s=2.0, **engines),
        {model.stem: EngineModel(model.stem, model) for model in models},
        log=LOG,
        environment={"PATH": os.defpath},
        on_change=heard.append,
    )


async def until_state(supervisor: Supervisor, state: str, name: str = "small") -> None:
    await until(lambda: supervisor.states()[name] == state)


async def failure(supervisor: Supervisor, name: str = "small") -> EngineFailed:
    with pytest.raises(EngineFailed) as caught:
        await supervisor.ensure_ready(name)
    return caught.value


async def test_an_engine_starts_when_it_is_wanted_and_ends_with_the_gateway(tmp_path: Path, small_file: Path) -> None:
    program, changes = fake_engine(tmp_path, "serve()"), Changes()
    async with supervised(program, small_file, changes=changes) as supervisor:
        assert supervisor.states() == {"small": "stopped"}
        assert processes_with(str(program)) == []
        host, port = await supervisor.ensure_ready("small")
        assert await is_ready(host, port)
        assert supervisor.states() == {"small": "ready"}
    assert processes_with(str(program)) == []
    assert supervisor.states() == {"small": "stopped"}
    assert (changes.count_of(Event.SPAWNED), changes.count_of(Event.EXITED)) == (1, 1)


async def test_many_callers_join_one_start(tmp_path: Path, small_file: Path) -> None:
    program, changes = fake_engine(tmp_path, "time.sleep(0.2); serve()"), Changes()
    async with supervised(program, small_file, changes=changes) as supervisor:
        addresses = await asyncio.gather(*(supervisor.ensure_ready("small") for _ in range(50)))
        assert len(set(addresses)) == 1
    assert changes.count_of(Event.SPAWNED) == 1


async def test_a_caller_that_leaves_leaves_the_others(tmp_path: Path, small_file: Path) -> None:
    program, changes = fake_engine(tmp_path, "time.sleep(0.3); serve()"), Changes()
    async with supervised(program, small_file, changes=changes) as supervisor:
        first, second = (asyncio.create_task(supervisor.ensure_ready("small")) for _ in range(2))
        await until_state(supervisor, "loading")
        first.cancel()
        host, port = await second
        assert await is_ready(host, port)
        assert first.cancelled()


async def test_a_start_goes_on_when_all_who_wanted_it_have_left(tmp_path: Path, small_file: Path) -> None:
    async with supervised(fake_engine(tmp_path, "time.sleep(0.3); serve()"), small_file) as supervisor:
        waiting = asyncio.create_task(supervisor.ensure_ready("small"))
        await until_state(supervisor, "loading")
        waiting.cancel()
        await until_state(supervisor, "ready")


async def test_an_engine_that_crashes_is_started_again(tmp_path: Path, small_file: Path) -> None:
    program, changes = fake_engine(tmp_path, "serve()"), Changes()
    async with supervised(program, small_file, changes=changes) as supervisor:
        await supervisor.ensure_ready("small")
        os.kill(processes_with(str(program))[0], signal.SIGSEGV)
        await until_state(supervisor, "failed")
        told = await failure(supervisor)
        assert "was killed by SIGSEGV" in told.message
        assert told.retry_after_s is not None
        assert 0 < told.retry_after_s <= 1
        await until_state(supervisor, "ready")
    assert changes.count_of(Event.SPAWNED) == 2


async def test_an_engine_that_does_not_start_is_failed_with_its_last_words(tmp_path: Path, small_file: Path) -> None:
    does = "[say(f'loading tensor {n}') for n in range(99)]; say('out of memory'); sys.exit(7)"
    async with supervised(fake_engine(tmp_path, does), small_file) as supervisor:
        told = await failure(supervisor)
        assert "exited with status 7" in told.message
        assert told.message.endswith("loading tensor 97\nloading tensor 98\nout of memory")
        assert "tensor 50" not in told.message
        assert supervisor.states() == {"small": "failed"}
        again = await failure(supervisor)
        assert again.message == told.message


async def test_an_engine_that_never_gets_healthy_is_stopped_and_failed(tmp_path: Path, small_file: Path) -> None:
    program = fake_engine(tmp_path, "say('thinking about it'); time.sleep(600)")
    async with supervised(program, small_file, start_s=0.5) as supervisor:
        told = await failure(supervisor)
        assert "not ready within 0.5 s" in told.message
        assert "engines.start_s" in told.message
        assert told.message.endswith("thinking about it")
        assert processes_with(str(program)) == []


async def test_an_engine_that_ignores_sigterm_is_killed(tmp_path: Path, small_file: Path) -> None:
    program = fake_engine(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN); serve()")
    engines = Engines(command=str(program), stop_s=0.1)
    async with Supervisor(engines, {"small": EngineModel("small", small_file)}, log=LOG) as supervisor:
        await supervisor.ensure_ready("small")
    assert processes_with(str(program)) == []


async def test_the_gateways_end_does_not_wait_for_a_start(tmp_path: Path, small_file: Path) -> None:
    program = fake_engine(tmp_path, "time.sleep(600)")
    async with supervised(program, small_file) as supervisor:
        waiting = asyncio.create_task(supervisor.ensure_ready("small"))
        await until_state(supervisor, "loading")
    with pytest.raises(EngineFailed, match="was stopped before it was ready"):
        await waiting
    assert processes_with(str(program)) == []


async def test_who_asks_while_the_gateway_ends_is_turned_away(tmp_path: Path, small_file: Path) -> None:
    async with supervised(fake_engine(tmp_path, "serve()"), small_file) as supervisor:
        pass
    assert "not running" in (await failure(supervisor)).message


async def test_a_taken_port_is_passed_over(tmp_path: Path, small_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody takes the port between our asking for a free one and the engine's asking for it."""
    program, changes = fake_engine(tmp_path, TRIES_TO_LISTEN), Changes()
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as other:
        ports = [other.sockets[0].getsockname()[1]]
        monkeypatch.setattr(
            "moltbot_edge.local.launch.free_port", lambda taken: ports.pop() if ports else free_port(taken)
        )
        async with supervised(program, small_file, changes=changes) as supervisor:
            host, port = await supervisor.ensure_ready("small")
            assert await is_ready(host, port)
    assert (changes.count_of(Event.PORT_TAKEN), changes.count_of(Event.SPAWNED)) == (1, 2)


TRIES_TO_LISTEN = """
try:
    serve()
except OSError:
    say(f"couldn't bind HTTP server socket, hostname: 127.0.0.1, port: {port}")
    sys.exit(1)
"""


async def test_an_engine_that_is_let_go_finishes_its_work_and_starts_again_when_wanted(
    tmp_path: Path, small_file: Path
) -> None:
    busy = tmp_path / "busy"
    busy.touch()
    does = f"serve(lambda: b'[{{\"is_processing\": true}}]' if os.path.exists({str(busy)!r}) else b'[]')"
    program = fake_engine(tmp_path, does)
    async with supervised(program, small_file) as supervisor:
        await supervisor.ensure_ready("small")
        stopping = asyncio.create_task(supervisor.stop("small"))
        await until_state(supervisor, "draining")
        wanted = asyncio.create_task(supervisor.ensure_ready("small"))
        first = processes_with(str(program))
        busy.unlink()
        await stopping
        host, port = await wanted
        assert await is_ready(host, port)
        assert processes_with(str(program)) != first


async def test_stopping_what_does_not_run_is_done_at_once(tmp_path: Path, small_file: Path) -> None:
    async with supervised(fake_engine(tmp_path, "serve()"), small_file) as supervisor:
        await supervisor.stop("small")
        assert supervisor.states() == {"small": "stopped"}


async def test_a_damaged_file_is_an_error_of_its_model_alone(tmp_path: Path, small_file: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(chat_model_bytes()[:700])
    gone = tmp_path / "gone.gguf"
    split = tmp_path / "split-00001-of-00002.gguf"
    split.write_bytes(chat_model_bytes())
    async with supervised(fake_engine(tmp_path, "serve()"), small_file, damaged, gone, split) as supervisor:
        told = await failure(supervisor, "damaged")
        assert f"{damaged} cannot be read as a GGUF file: it ends in the middle" in told.message
        assert "gone.gguf is not in" in (await failure(supervisor, "gone")).message
        assert "split-00002-of-00002.gguf is not in" in (await failure(supervisor, split.stem)).message
        await supervisor.ensure_ready("small")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "no-such-llama-server",
            r"'no-such-llama-server' is not on the PATH; install llama.cpp, or set `engines.command`",
        ),
        ("/nowhere/llama-server", "'/nowhere/llama-server' is no program"),
        ("/bin/true", "/bin/true is no llama-server: `--help` exited with status 0 and said: "),
    ],
)
async def test_a_missing_program_is_told_with_what_to_do(small_file: Path, command: str, said: str) -> None:
    async with supervised(command, small_file) as supervisor:
        assert said in (await failure(supervisor)).message


async def test_a_program_for_another_processor_is_called_that(tmp_path: Path, small_file: Path) -> None:
    async with supervised(fake_engine(tmp_path, "os.kill(os.getpid(), signal.SIGILL)"), small_file) as supervisor:
        assert "built for a processor with instructions that this one lacks" in (await failure(supervisor)).message


async def test_help_is_asked_once(tmp_path: Path, small_file: Path) -> None:
    asked = tmp_path / "asked"
    program = fake_engine(tmp_path, "serve()", on_help=f"print('x', file=open({str(asked)!r}, 'a'))")
    other = tmp_path / "other.gguf"
    other.write_bytes(chat_model_bytes())
    async with supervised(program, small_file, other) as supervisor:
        await supervisor.ensure_ready("small")
        await supervisor.ensure_ready("other")
    assert asked.read_text() == "x\n"


async def test_a_file_whose_name_is_no_text_is_told_in_text(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    file.touch()
    async with supervised(fake_engine(tmp_path, "serve()"), file) as supervisor:
        with pytest.raises(EngineFailed, match=r"caf\?\.gguf cannot be read") as caught:
            await supervisor.ensure_ready(file.stem)
        assert "it is empty" in caught.value.message


async def test_a_build_that_took_anothers_place_is_asked_again(tmp_path: Path, small_file: Path) -> None:
    program = fake_engine(tmp_path, "say(' '.join(sys.argv[1:])); serve()")
    async with supervised(program, small_file) as supervisor:
        await supervisor.ensure_ready("small")
        await supervisor.stop("small")
        fake_engine(tmp_path, "sys.exit(' '.join(sys.argv[1:]))", on_help="print('--jinja   a flag of its own')")
        with pytest.raises(EngineFailed, match="--jinja"):
            await supervisor.ensure_ready("small")


async def test_a_model_that_is_not_there_is_a_slip_of_ours(tmp_path: Path) -> None:
    async with supervised("llama-server") as supervisor:
        with pytest.raises(KeyError):
            await supervisor.ensure_ready("none")


async def test_flags_of_all_engines_come_before_those_of_one(tmp_path: Path, small_file: Path) -> None:
    said: Sequence[str]
    program = fake_engine(tmp_path, "say(' '.join(sys.argv[1:])); sys.exit(1)")
    engines = Engines(command=str(program), args=["--all", "1"])
    models = {"small": EngineModel("small", small_file, ("--one", "2"))}
    async with Supervisor(engines, models, log=LOG) as supervisor:
        said = (await failure(supervisor)).message.splitlines()
    assert said[-1].startswith(f"--all 1 --one 2 --model {small_file} --host 127.0.0.1 --port ")
