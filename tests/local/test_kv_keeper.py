"""A keeper and the real llama-server: what is saved, loaded, believed, and what happens when something is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moltbot_edge.config.schema import Engines
from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.lease import Foresight, Wish
from moltbot_edge.core.stable import trail
from moltbot_edge.local.kv_folder import KvFolder
from moltbot_edge.local.kv_keeper import KvKeeper
from moltbot_edge.local.supervisor import EngineModel, Supervisor
from moltbot_edge.metrics.catalogue import Metrics

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

LIMIT_BYTES = 1024 * 1024 * 1024
RULES = " ".join(f"Item {number} costs {number * 7 % 93} coins and lies in box {number % 17}." for number in range(16))


class Board:
    """One engine with its keeper. *args* are llama-server's."""

    def __init__(self, supervisor: Supervisor, keeper: KvKeeper, folder: KvFolder, metrics: Metrics) -> None:
        self.supervisor = supervisor
        self.keeper = keeper
        self.folder = folder
        self.address = ("", 0)
        self._metrics = metrics

    async def says(self, messages: list[dict[str, str]], **more: Any) -> tuple[str, Usage]:
        """A turn of a conversation, which goes on in *messages*; the slot's number is in the first."""
        body = json.dumps({"messages": messages, "max_tokens": 6, "temperature": 0, **more}).encode()
        async with self.supervisor.lease("small", Wish(trail(body), len(body))) as lease:
            self.address = lease.address
            asked = json.loads(body) | ({} if lease.slot is None else {"id_slot": lease.slot})
            reply = await post(lease.address, asked)
            said, timings = reply["usage"], reply["timings"]
            cached = said["prompt_tokens_details"]["cached_tokens"]
            usage = Usage(said["prompt_tokens"], said["completion_tokens"], cached)
            lease.answered(usage, Timings(timings["prompt_per_second"], timings["predicted_per_second"]))
            messages.append({"role": "assistant", "content": reply["choices"][0]["message"]["content"]})
            return str(lease.slot), usage

    def counted(self) -> dict[str, float]:
        return {" ".join(labels[1:]): cell.value for labels, cell in self._metrics.kv_actions.series()}


async def post(address: tuple[str, int], body: dict[str, Any]) -> dict[str, Any]:
    host, port = address
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(host, port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(data)}\r\n"
    writer.write(head.encode() + b"\r\n" + data)
    reply = await reader.read()
    writer.close()
    found: dict[str, Any] = json.loads(reply.partition(b"\r\n\r\n")[2])
    return found


@pytest.fixture
def board(llama_server: Path, chat_model: Path, tmp_path: Path) -> Any:
    @contextlib.asynccontextmanager
    async def board(*args: str, day_bytes: int = LIMIT_BYTES, limit_bytes: int = LIMIT_BYTES) -> AsyncIterator[Board]:
        log, metrics = logging.getLogger("test"), Metrics()
        folder = KvFolder(tmp_path / "kv", limit_bytes, log, time.time)
        keeper = KvKeeper(folder, day_bytes, metrics, log, time.monotonic, time.time)
        engines = Engines(command=str(llama_server), args=["-t", "1", *args], context_tokens=1024)
        models = {"small": EngineModel("small", chat_model)}
        async with Supervisor(engines, models, log=log, keeper=keeper) as supervisor:
            yield Board(supervisor, keeper, folder, metrics)
        keeper.close()

    return board


def talk(first: str = "What is in box 3?", system: str = RULES) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": first}]


def asks(messages: list[dict[str, str]], question: str) -> list[dict[str, str]]:
    messages.append({"role": "user", "content": question})
    return messages


async def test_a_build_that_loads_and_uses_nothing_is_left_out(board: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Its load succeeds each time; that its prompts are read all the same is what a reply says."""
    async with board("--no-cache-prompt") as engine:
        for _ in range(3):
            messages = talk()
            _, usage = await engine.says(messages)
            assert usage.cached_tokens == 0
            await engine.supervisor.stop("small")
        assert engine.counted() == {"save saved": 2, "load loaded": 2, "load disproved": 2}
        assert engine.folder.index.entries == ()
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert told == [
            "engine small: 2 loaded caches in a row were not used; of this model and build none are kept any more"
        ]


async def test_conversations_side_by_side_have_a_slot_each(board: Any) -> None:
    async with board("--parallel", "2", "--ctx-size", "1600") as engine:
        one, other = talk(), talk(system=f"You are terse. {RULES}")
        (here, first), (there, second) = await asyncio.gather(engine.says(one), engine.says(other))
        assert {here, there} == {"0", "1"}
        assert engine.keeper.props("small").total_slots == 2
        for messages, slot, usage in ((other, there, second), (one, here, first)):
            its, again = await engine.says(asks(messages, "And in box 4?"))
            assert its == slot
            assert again.cached_tokens >= 0.95 * usage.input_tokens
        assert engine.counted() == {}


async def test_a_damaged_file_is_never_given_to_an_engine(board: Any) -> None:
    """Half a file would end it."""
    async with board() as engine:
        messages = talk()
        await engine.says(messages)
        await engine.supervisor.stop("small")
        (entry,) = engine.folder.index.entries
        with (engine.folder.path / entry.file).open("r+b") as opened:
            opened.truncate(entry.size_bytes // 2)
        _, usage = await engine.says(asks(messages, "And in box 4?"))
        assert usage.cached_tokens == 0
        assert engine.counted() == {"save saved": 1, "load broken": 1}
        assert engine.folder.index.entries == ()


async def test_a_place_where_nothing_can_be_written_costs_no_reply(
    board: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with board() as engine:
        await engine.says(talk())
        engine.folder.path.rename(engine.folder.path.with_name("gone"))
        engine.folder.path.write_text("in its place")
        await engine.supervisor.stop("small")
        assert engine.counted() == {}
        assert [one for one in caplog.messages if "caches" in one] == [
            f"no caches of engines are kept: {engine.folder.path}: File exists (`engines.kv_path`)"
        ]
        _, usage = await engine.says(talk())
        assert usage.output_tokens > 0


async def test_no_more_is_written_than_a_day_allows(board: Any) -> None:
    async with board(day_bytes=1024 * 1024) as engine:
        await engine.says(talk())
        await engine.supervisor.stop("small")
        assert engine.counted() == {}


async def test_an_idle_engines_slot_is_saved_once(board: Any) -> None:
    """In case the power goes; what little is said later is not worth another file while the engine runs."""
    async with board() as engine:
        messages = talk()
        await engine.says(messages)
        for question in ("", "And in box 4?"):
            if question:
                await engine.says(asks(messages, question))
            await engine.keeper.when_idle("small", engine.address)
            await engine.keeper.when_idle("small", engine.address)
            assert engine.counted() == {"save saved": 1}


async def test_a_request_that_was_given_up_leaves_its_slot_usable(board: Any) -> None:
    async with board() as engine:
        messages = talk()
        body = json.dumps({"messages": messages}).encode()
        with contextlib.suppress(ZeroDivisionError):
            async with engine.supervisor.lease("small", Wish(trail(body), len(body))):
                raise ZeroDivisionError
        slot, _ = await engine.says(messages)
        assert slot == "0"
        await engine.supervisor.stop("small")
        assert engine.counted() == {"save saved": 1}


async def test_what_a_prompt_would_find_is_foreseen(board: Any) -> None:
    async with board() as engine:
        messages = talk()
        wanted = trail(json.dumps({"messages": [*messages, *talk("x")[1:]]}).encode())
        _, usage = await engine.says(messages)
        found = engine.supervisor.foresees("small", wanted)
        assert found == Foresight(0.0, usage.input_tokens + usage.output_tokens)
        await engine.supervisor.stop("small")
        found, kept = engine.supervisor.foresees("small", wanted), engine.keeper.foresees("small", wanted)
        assert found.ready_s > kept.ready_s > 0.0
        assert found.cached_tokens >= usage.input_tokens
        assert engine.supervisor.foresees("small", ()).cached_tokens is None
        assert engine.keeper.props("small") is None
    async with board() as engine:  # the gateway was started again, and this engine was not yet
        assert engine.keeper.foresees("small", wanted) == kept
        assert engine.keeper.foresees("other", wanted) == Foresight()
        assert engine.keeper.foresees("small", ()) == Foresight()


async def test_requests_go_to_no_slot_where_the_engine_moves_them_itself(board: Any) -> None:
    async with board("--cache-ram", "256") as engine:
        slot, _ = await engine.says(talk("Hello!", "Be brief."))
        assert slot == "None"
