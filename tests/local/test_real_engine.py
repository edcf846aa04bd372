"""The real llama-server with a real model, started as the gateway starts it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from living import killed_at_the_end, lives, processes_with, until

from moltbot_edge.config.schema import Engines
from moltbot_edge.core.errors import EngineFailed
from moltbot_edge.local.health import is_idle
from moltbot_edge.local.launch import HELP_BYTES
from moltbot_edge.local.lifecycle import Event
from moltbot_edge.local.process import environment_for, spawn
from moltbot_edge.local.profile import known_flags
from moltbot_edge.local.supervisor import Change, EngineModel, Supervisor

pytestmark = pytest.mark.anyio
# One thread: two that share a busy core wait for each other more than they compute.
QUICK = ("-t", "1")
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
EMBEDS_TOO = ("--embeddings", "--pooling", "last")

Supervised = Callable[..., contextlib.AbstractAsyncContextManager[Supervisor]]


@pytest.fixture
def supervised(llama_server: Path, chat_model: Path) -> Supervised:
    @contextlib.asynccontextmanager
    async def supervised(
        *args: str, file: Path = chat_model, stop_s: float = 5.0, **options: Any
    ) -> AsyncIterator[Supervisor]:
        engines = Engines(command=str(llama_server), args=[*QUICK, *args], context_tokens=1024, stop_s=stop_s)
        models = {"small": EngineModel("small", file)}
        async with Supervisor(engines, models, log=logging.getLogger("test"), **options) as supervisor:
            yield supervisor

    return supervised


async def ask(address: tuple[str, int], path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """Status and body of one request by hand, for these tests are not about clients. Status 0: no reply came."""
    host, port = address
    data = json.dumps(body).encode() if body is not None else b""
    reader, writer = await asyncio.open_connection(host, port)
    verb = "GET" if body is None else "POST"
    head = f"{verb} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    reply = await reader.read()
    writer.close()
    head_bytes, _, content = reply.partition(b"\r\n\r\n")
    return int(head_bytes.split()[1]) if head_bytes else 0, content


def pid_of(address: tuple[str, int]) -> int:
    (pid,) = processes_with("--port", str(address[1]))
    return pid


async def test_a_model_answers_under_its_own_name(supervised: Supervised) -> None:
    async with supervised() as supervisor:
        address = await supervisor.ensure_ready("small")
        status, content = await ask(address, "/v1/chat/completions", {"messages": QUESTION, "temperature": 0})
        reply = json.loads(content)
        assert status == 200
        assert reply["choices"][0]["message"]["content"] == "The capital of France is Paris."
        assert reply["model"] == "small"
        props = json.loads((await ask(address, "/props"))[1])
        assert props["total_slots"] == 1
        assert props["default_generation_settings"]["n_ctx"] == 1024
        assert (await ask(address, "/metrics"))[0] == 200
        assert json.loads((await ask(address, "/slots"))[1])[0]["is_processing"] is False


async def test_one_engine_chats_and_embeds_where_the_user_says_so(supervised: Supervised) -> None:
    async with supervised(*EMBEDS_TOO) as supervisor:
        address = await supervisor.ensure_ready("small")
        _, content = await ask(address, "/v1/chat/completions", {"messages": QUESTION, "temperature": 0})
        assert b"Paris" in content
        # Longer than one batch: pooling "mean" would refuse it.
        status, content = await ask(address, "/v1/embeddings", {"input": ["hello", "the house is red " * 60]})
        assert status == 200
        assert [len(one["embedding"]) for one in json.loads(content)["data"]] == [576, 576]


async def test_the_users_flags_win(supervised: Supervised) -> None:
    async with supervised("--ctx-size", "512", "--port", "1", "--host", "0.0.0.0") as supervisor:
        address = await supervisor.ensure_ready("small")
        props = json.loads((await ask(address, "/props"))[1])
        assert props["default_generation_settings"]["n_ctx"] == 512
        assert address[0] == "127.0.0.1"


async def test_a_file_cut_short_is_told_in_the_engines_own_words(
    supervised: Supervised, chat_model: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short.gguf"
    with chat_model.open("rb") as whole:
        short.write_bytes(whole.read(20_000_000))
    async with supervised(file=short) as supervisor:
        with pytest.raises(EngineFailed, match=r"(?s)exited with status 1; it said last:.*corrupted or incomplete"):
            await supervisor.ensure_ready("small")


async def test_a_flag_that_the_build_does_not_know_is_told_in_its_own_words(supervised: Supervised) -> None:
    async with supervised("--no-such-flag") as supervisor:
        with pytest.raises(EngineFailed, match="invalid argument: --no-such-flag"):
            await supervisor.ensure_ready("small")


@pytest.mark.thorough  # as test_supervisor says of one that is no model
async def test_an_engine_that_is_let_go_finishes_its_reply_first(supervised: Supervised) -> None:
    async with supervised() as supervisor:
        address = await supervisor.ensure_ready("small")
        body = {"messages": QUESTION, "max_tokens": 80, "stream": True, "ignore_eos": True}
        reply = asyncio.create_task(ask(address, "/v1/chat/completions", body))
        while await is_idle(*address):
            pass
        await supervisor.stop("small")
        assert (await reply)[1].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert supervisor.states() == {"small": "stopped"}


async def test_the_gateways_end_does_not_wait_for_a_reply(supervised: Supervised) -> None:
    """llama-server itself does, for as long as somebody reads the stream: SIGTERM alone would not end it."""
    async with supervised(stop_s=0.2) as supervisor:
        address = await supervisor.ensure_ready("small")
        pid = pid_of(address)
        body = {"messages": QUESTION, "max_tokens": 900, "stream": True, "ignore_eos": True}
        reply = asyncio.create_task(ask(address, "/v1/chat/completions", body))
        while await is_idle(*address):
            pass
    assert not lives(pid)
    assert b"[DONE]" not in (await reply)[1]


@pytest.mark.thorough
async def test_an_engine_that_is_killed_comes_back(supervised: Supervised) -> None:
    changes: list[Change] = []
    async with supervised(on_change=changes.append) as supervisor:
        await supervisor.ensure_ready("small")
        os.kill(pid_of(await supervisor.ensure_ready("small")), 9)
        await until(lambda: [change.event for change in changes].count(Event.HEALTHY) == 2)
        assert (await ask(await supervisor.ensure_ready("small"), "/health"))[0] == 200


PARENT = """
import asyncio, logging, sys, uvloop
from pathlib import Path
from moltbot_edge.config.schema import Engines
from moltbot_edge.local.supervisor import EngineModel, Supervisor

async def main():
    engines = Engines(command=sys.argv[1], args=["-t", "1"], context_tokens=512)
    models = {"small": EngineModel("small", Path(sys.argv[2]))}
    async with Supervisor(engines, models, log=logging.getLogger()) as supervisor:
        host, port = await supervisor.ensure_ready("small")
        print(port, flush=True)
        await asyncio.sleep(600)

uvloop.run(main())
"""


@pytest.mark.thorough  # and in end_to_end/test_openai_client
async def test_killing_the_gateway_leaves_no_engine(llama_server: Path, chat_model: Path) -> None:
    with killed_at_the_end(PARENT, llama_server, chat_model) as said:
        pid = pid_of(("127.0.0.1", int(said.readline())))
        assert lives(pid)
    await until(lambda: not lives(pid))


async def test_this_builds_help_is_understood(llama_server: Path) -> None:
    child = await spawn(
        (str(llama_server), "--help"), environment=environment_for(llama_server, {}), keep_bytes=HELP_BYTES
    )
    assert await child.ended() == 0
    known = known_flags("\n".join(child.output.lines()))
    assert known["--model"] is known["--ctx-size"] is known["--host"] is True
    assert known["--metrics"] is known["--no-webui"] is False
    assert not [name for name in known if not name.startswith("-")]
