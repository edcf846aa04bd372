"""More models than fit: who runs, who waits, who goes. Real processes that hold real memory."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fake_engine import fake_engine
from gguf_file import chat_model as chat_model_bytes
from living import killed_at_the_end, lives, processes_with, until

from moltbot_edge.config.schema import Engines
from moltbot_edge.core.errors import ClosedUnanswered, EngineFailed, ModelTooLarge, Overloaded, UpstreamTimeout
from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.lease import Lease, Phase, Progress, Wish
from moltbot_edge.local import attendants
from moltbot_edge.local.account import Evicted, Note, Refused, Room, Waited
from moltbot_edge.local.health import is_ready
from moltbot_edge.local.keeping import KeepsNothing
from moltbot_edge.local.memory import Memory
from moltbot_edge.local.supervisor import EngineModel, Supervisor

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024
# Some 80 MiB with Python's own, of a budget of 120.
HOLDS = "held = b'x' * (70 << 20)\n"
SERVES = HOLDS + "serve()"
ONE_FITS = {"memory_mb": 120, "min_warm_s": 0.0}


class Notes(list[Note]):
    def evicted(self, why: str) -> list[str]:
        return [note.name for note in self if isinstance(note, Evicted) and note.why == why]


class Board:
    """A supervisor with engines that all do the same, and what was told of them."""

    def __init__(self, folder: Path, does: str, names: Sequence[str], models: dict[str, Any], **engines: Any) -> None:
        self.program = fake_engine(folder, does)
        self.notes = Notes()
        options = {key: engines.pop(key) for key in ("keeper", "memory") if key in engines}
        self.supervisor = Supervisor(
            Engines(command=str(self.program), **{"stop_s": 2.0, **engines}),
            {name: self.model(folder, name, **models) for name in names},
            log=logging.getLogger("test"),
            environment={"PATH": os.defpath},
            on_note=self.notes.append,
            **options,
        )

    @staticmethod
    def model(folder: Path, name: str, **wishes: Any) -> EngineModel:
        file = folder / f"{name}.gguf"
        file.write_bytes(chat_model_bytes())
        return EngineModel(name, file, **{"memory_bytes": 80 * MIB, **wishes})

    def running(self) -> list[int]:
        return processes_with(str(self.program))

    def room(self, name: str) -> Room:
        return self.supervisor.account().engines[name]

    def states(self) -> dict[str, str]:
        return self.supervisor.states()

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[Lease]:
        async with self.supervisor.lease(name, Wish()) as lease:
            yield lease
            lease.answered(None, None)


@asynccontextmanager
async def board(
    folder: Path, does: str = SERVES, names: Sequence[str] = ("a", "b"), **engines: Any
) -> AsyncIterator[Board]:
    found = Board(folder, does, names, engines.pop("models", {}), **{**ONE_FITS, **engines})
    async with found.supervisor:
        yield found
    assert found.running() == []


async def test_a_model_that_does_not_fit_beside_another_takes_its_place(tmp_path: Path) -> None:
    async with board(tmp_path) as engines:
        for name in ("a", "b", "a"):
            host, port = await engines.supervisor.ensure_ready(name)
            assert await is_ready(host, port)
            assert len(engines.running()) == 1
        assert engines.states() == {"a": "ready", "b": "stopped"}
        assert engines.notes.evicted("room") == ["a", "b"]


async def test_models_that_fit_together_stay_together(tmp_path: Path) -> None:
    async with board(tmp_path, memory_mb=200) as engines:
        await engines.supervisor.ensure_ready("a")
        await engines.supervisor.ensure_ready("b")
        assert engines.states() == {"a": "ready", "b": "ready"}


async def test_an_engine_that_serves_is_not_taken_away(tmp_path: Path) -> None:
    async with board(tmp_path) as engines:
        async with engines.held("a") as lease:
            other = asyncio.create_task(engines.supervisor.ensure_ready("b"))
            await asyncio.sleep(0.5)
            assert await is_ready(*lease.address)
            assert engines.states() == {"a": "ready", "b": "stopped"}
        assert await is_ready(*await other)


async def test_who_waits_too_long_has_its_turn_and_no_reply_is_cut_for_it(tmp_path: Path) -> None:
    """Somebody always holds `a`: without a limit `b` would never run."""
    whole = 0

    async def one_after_the_other(engines: Board, begins_after_s: float) -> None:
        nonlocal whole
        await asyncio.sleep(begins_after_s)
        while True:
            async with engines.held("a") as lease:
                for _ in range(3):
                    await asyncio.sleep(0.1)
                    assert await is_ready(*lease.address)
            whole += 1

    async with board(tmp_path, max_wait_s=0.6) as engines, asyncio.TaskGroup() as group:
        await engines.supervisor.ensure_ready("a")
        others = [group.create_task(one_after_the_other(engines, pause_s)) for pause_s in (0.0, 0.1, 0.2)]
        await asyncio.sleep(0.3)
        await engines.supervisor.ensure_ready("b")
        assert engines.notes.evicted("turn")[0] == "a"
        before = whole
        await until(lambda: whole > before)
        for other in others:
            other.cancel()


async def test_requests_for_one_model_are_gathered_before_a_swap(tmp_path: Path) -> None:
    served: list[str] = []

    async def ask(engines: Board, name: str) -> None:
        async with engines.held(name):
            served.append(name)
            await asyncio.sleep(0.1)

    async with board(tmp_path, SERVES, "abc") as engines:
        await asyncio.gather(*(ask(engines, name) for name in "abcabcabbcac"))
        assert len(engines.notes.evicted("room")) == 2
    assert sorted("".join(served)) == sorted("abcabcabbcac")
    assert [len({*served[at : at + 4]}) for at in (0, 4, 8)] == [1, 1, 1]


TWO_SLOTS = {"args": ("--parallel", "2")}


async def test_requests_wait_before_an_engine_whose_slots_are_taken(tmp_path: Path) -> None:
    async with board(tmp_path, models=TWO_SLOTS) as engines, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(engines.held("a"))
        waiting = asyncio.create_task(engines.supervisor.ensure_ready("a"))
        await asyncio.sleep(0.3)
        assert (engines.room("a").serving, engines.room("a").waiting) == (2, 1)
        await stack.aclose()
        assert await is_ready(*await waiting)


async def test_who_reads_slowly_holds_no_slot_that_its_engine_has_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendants, "LINE_POLL_S", 0.1)
    async with board(tmp_path, models=TWO_SLOTS) as engines, AsyncExitStack() as stack:
        for _ in range(4):  # whose slots are idle, as the engine says
            await stack.enter_async_context(engines.held("a"))
        assert engines.room("a").serving == 4


async def test_who_has_waited_too_long_does_not_wait_for_the_others_in_line(tmp_path: Path) -> None:
    order: list[str] = []

    async def ask(engines: Board, name: str) -> None:
        async with engines.held(name):
            order.append(name)
            await asyncio.sleep(0.3)

    async with board(tmp_path, models={"args": ("--parallel", "1")}, max_wait_s=0.4) as engines:
        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(ask(engines, "a"))
            await until(lambda: bool(order))
            group.create_task(ask(engines, "b"))
        assert sorted(order) == ["a"] * 6 + ["b"]
        assert order.index("b") <= 4


async def test_no_more_wait_than_may_and_none_for_ever(tmp_path: Path) -> None:
    async with board(tmp_path, models={"args": ("--parallel", "1")}, queue=1, queue_s=2.0) as engines:
        async with engines.held("a"):
            waiting = asyncio.create_task(engines.supervisor.ensure_ready("a"))
            await until(lambda: engines.room("a").waiting == 1)
            with pytest.raises(Overloaded, match=r"1 requests wait for model 'a', as many as may") as caught:
                await engines.supervisor.ensure_ready("a")
            assert caught.value.retry_after_s
            with pytest.raises(Overloaded, match=r"this one has for 2 s"):
                await waiting
        assert [note.why for note in engines.notes if isinstance(note, Refused)] == ["queue", "queue"]


async def test_the_end_of_the_gateway_turns_away_who_stands_in_line(tmp_path: Path) -> None:
    async with board(tmp_path, models={"args": ("--parallel", "1")}) as engines:
        holding = engines.held("a")
        await holding.__aenter__()
        waiting = asyncio.create_task(engines.supervisor.ensure_ready("a"))
        await until(lambda: engines.room("a").waiting == 1)
    with pytest.raises(EngineFailed, match="was stopped"):
        await waiting
    await holding.__aexit__(None, None, None)


async def test_an_engine_that_has_just_loaded_stays_warm(tmp_path: Path) -> None:
    async with board(tmp_path, min_warm_s=30.0, max_wait_s=0.5) as engines:
        await engines.supervisor.ensure_ready("a")
        other = asyncio.create_task(engines.supervisor.ensure_ready("b"))
        await asyncio.sleep(0.2)
        assert engines.states()["a"] == "ready"
        await other  # which had waited too long for that


async def test_who_leaves_the_queue_starts_nothing(tmp_path: Path) -> None:
    async with board(tmp_path) as engines:
        async with engines.held("a"):
            leaving = asyncio.create_task(engines.supervisor.ensure_ready("b"))
            await asyncio.sleep(0.2)
            leaving.cancel()
            with suppress(asyncio.CancelledError):
                await leaving
        await asyncio.sleep(0.3)
        assert engines.states() == {"a": "ready", "b": "stopped"}


async def test_an_idle_engine_ends_after_its_time_and_a_serving_one_does_not(tmp_path: Path) -> None:
    async with board(tmp_path, ttl_s=0.3) as engines:
        async with engines.held("a"):
            await asyncio.sleep(0.8)
            assert engines.states()["a"] == "ready"
        await until(lambda: engines.states()["a"] == "stopped")
        assert engines.notes.evicted("ttl") == ["a"]


async def test_a_pinned_engine_starts_with_the_gateway_and_stays(tmp_path: Path) -> None:
    file = Board.model(tmp_path, "kept", pin=True)
    other = Board.model(tmp_path, "other")
    engines = Engines(command=str(fake_engine(tmp_path, SERVES)), memory_mb=120, ttl_s=0.2)
    log = logging.getLogger("test")
    async with Supervisor(engines, {"kept": file, "other": other}, log=log) as supervisor:
        await until(lambda: supervisor.states()["kept"] == "ready")
        with pytest.raises(ModelTooLarge, match=r"needs 80 MiB .* 120 MiB .* of which pinned ones leave 40"):
            await supervisor.ensure_ready("other")
        await asyncio.sleep(0.4)
        assert supervisor.states()["kept"] == "ready"


async def test_a_pinned_engine_that_does_not_fit_is_told_though_nobody_asks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with board(tmp_path, memory_mb=40, models={"pin": True}) as engines:
        await until(lambda: len(caplog.messages) == 2)
        assert "model 'a' needs 80 MiB" in caplog.text
        assert engines.running() == []


async def test_a_file_that_was_replaced_is_looked_at_anew(tmp_path: Path) -> None:
    """What was learned of the one before would let it in, whatever it takes."""
    async with board(tmp_path, models={"memory_bytes": None}) as engines:
        async with engines.held("a"):
            await until(lambda: engines.room("a").measured_bytes > 0)
        await engines.supervisor.stop("a")
        os.truncate(tmp_path / "a.gguf", 300 * MIB)
        with pytest.raises(ModelTooLarge, match="needs 340 MiB"):
            await engines.supervisor.ensure_ready("a")


async def test_a_model_that_can_never_fit_is_refused_with_the_numbers(tmp_path: Path) -> None:
    shape = {
        "llama.block_count": 16,
        "llama.embedding_length": 2048,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
        "llama.context_length": 32768,
    }
    (tmp_path / "large.gguf").write_bytes(chat_model_bytes(**shape))
    notes = Notes()
    engines = Engines(command=str(fake_engine(tmp_path, "serve()")), memory_mb=200)
    async with Supervisor(
        engines,
        {"large": EngineModel("large", tmp_path / "large.gguf", ("--ctx-size", "32768"))},
        log=logging.getLogger("test"),
        on_note=notes.append,
    ) as supervisor:
        with pytest.raises(ModelTooLarge) as caught:
            await supervisor.ensure_ready("large")
    assert "needs 1080 MiB with a context of 32768 tokens" in caught.value.message
    assert "200 MiB together (`engines.memory_mb`): it would fit with" in caught.value.message
    tokens = int(caught.value.message.split("it would fit with ")[1].split()[0])
    assert 4096 <= tokens <= 5120
    assert notes == [Refused("large", "too-large")]


class Machine(Memory):
    """A machine that has what the test says."""

    def __init__(self, available: int) -> None:
        super().__init__()
        self.now_available = available

    def available(self) -> int:
        return self.now_available


async def test_the_next_start_waits_until_the_memory_is_back(tmp_path: Path) -> None:
    machine = Machine(1000 * MIB)
    async with board(tmp_path, memory=machine) as engines:
        await engines.supervisor.ensure_ready("a")
        machine.now_available = 50 * MIB
        other = asyncio.create_task(engines.supervisor.ensure_ready("b"))
        await until(lambda: engines.states()["a"] == "stopped")
        await asyncio.sleep(0.5)
        assert engines.running() == []
        machine.now_available = 1000 * MIB
        assert await is_ready(*await other)


async def test_what_the_machine_does_not_get_back_is_told_and_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moltbot_edge.local.owner.SHORT_S", 0.3)
    async with board(tmp_path, memory=Machine(50 * MIB)) as engines:
        with pytest.raises(EngineFailed, match="needs 80 MiB, and this machine has 50 free") as caught:
            await engines.supervisor.ensure_ready("a")
        assert caught.value.retry_after_s
        assert engines.notes == [Refused("a", "memory")]


async def test_what_something_else_takes_of_the_machine_idle_engines_give_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moltbot_edge.local.weighing.MEASURE_S", 0.1)
    machine = Machine(1000 * MIB)
    async with board(tmp_path, memory_mb=200, memory=machine) as engines:
        await engines.supervisor.ensure_ready("a")
        async with engines.held("b"):
            machine.now_available = 0
            await until(lambda: engines.states() == {"a": "stopped", "b": "ready"})
            assert engines.notes.evicted("memory") == ["a"]


GROWS = (
    "import threading\n"
    "def grow():\n"
    "    while not os.path.exists({0!r}): time.sleep(0.02)\n"
    "    global held; held = b'x' * ({1} << 20); time.sleep(600)\n"
    "threading.Thread(target=grow, daemon=True).start(); serve()"
)


async def test_an_engine_that_grows_is_known_for_it_and_idle_ones_make_room(tmp_path: Path) -> None:
    sign = tmp_path / "grow"
    models = {"memory_bytes": 40 * MIB}
    async with board(tmp_path, GROWS.format(str(sign), 90), models=models) as engines:
        await engines.supervisor.ensure_ready("a")
        async with engines.held("b"):
            sign.touch()  # both do; `a` is idle
            await until(lambda: engines.states()["a"] == "stopped")
            assert engines.states()["b"] == "ready"
            assert engines.notes.evicted("grown") == ["a"]
            await until(lambda: engines.room("b").needed_bytes > 90 * MIB)


async def test_an_engine_that_eats_the_budget_is_ended_and_its_caller_told(tmp_path: Path) -> None:
    sign = tmp_path / "grow"
    async with board(tmp_path, GROWS.format(str(sign), 200), models={"memory_bytes": 40 * MIB}) as engines:

        async def reply() -> None:
            async with engines.supervisor.lease("a", Wish()):
                sign.touch()
                await until(lambda: engines.running() == [])
                raise ClosedUnanswered("what its caller's connection would say")

        with pytest.raises(EngineFailed, match=r"it takes 2\d\d MiB, and all engines together may take 120"):
            await reply()
        with pytest.raises(ModelTooLarge, match=r"needs 2\d\d MiB"):  # that is what it takes, as is known now
            await engines.supervisor.ensure_ready("a")
        assert engines.notes.evicted("grown") == ["a"]


async def test_an_engine_that_dies_in_mid_reply_is_told_with_its_last_words(tmp_path: Path) -> None:
    async with board(tmp_path, "say('tensor went missing'); serve()") as engines:

        async def reply() -> None:
            async with engines.supervisor.lease("a", Wish()):
                os.kill(engines.running()[0], signal.SIGSEGV)
                raise ClosedUnanswered("what its caller's connection would say")

        with pytest.raises(EngineFailed, match=r"(?s)killed by SIGSEGV.*tensor went missing"):
            await reply()


BUSY = 'serve(lambda: b\'[{"id": 0, "id_task": 7, "is_processing": true}]\')'


async def test_an_engine_that_goes_on_for_a_caller_who_left_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendants, "LISTENS_S", 0.05)
    monkeypatch.setattr(attendants, "SLOTS_POLL_S", 0.1)
    async with board(tmp_path, BUSY, stuck_s=0.5) as engines:
        with pytest.raises(asyncio.CancelledError):
            async with engines.supervisor.lease("a", Wish()):
                raise asyncio.CancelledError
        before = engines.running()
        await until(lambda: engines.running() not in ([], before))
        await until(lambda: engines.states()["a"] == "ready")
        assert engines.notes.evicted("stuck") == ["a"]


async def test_an_engine_that_stops_answering_in_mid_reply_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendants, "LISTENS_S", 0.05)
    monkeypatch.setattr("moltbot_edge.local.health.ASK_S", 0.2)
    monkeypatch.setattr(attendants, "SLOTS_POLL_S", 0.1)
    async with board(tmp_path, stuck_s=0.5, stop_s=0.2) as engines:

        async def reply() -> None:
            async with engines.supervisor.lease("a", Wish()):
                os.kill(engines.running()[0], signal.SIGSTOP)
                raise UpstreamTimeout("what its caller's connection would say")

        with pytest.raises(UpstreamTimeout):
            await reply()
        waiting = await engines.supervisor.ensure_ready("a")  # it does not know yet
        await until(lambda: engines.notes.evicted("stuck") == ["a"])
        address = await engines.supervisor.ensure_ready("a")
        assert address != waiting
        assert await is_ready(*address)


async def test_a_caller_who_leaves_an_engine_that_notices_costs_nothing_and_the_next_is_watched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendants, "LISTENS_S", 0.05)
    monkeypatch.setattr(attendants, "SLOTS_POLL_S", 0.1)
    sign = tmp_path / "busy"
    busy = BUSY.replace("lambda: ", f"lambda: b'[]' if not os.path.exists({str(sign)!r}) else ")

    async def leave(engines: Board) -> None:
        with suppress(asyncio.CancelledError):
            async with engines.supervisor.lease("a", Wish()):
                raise asyncio.CancelledError

    async with board(tmp_path, busy, stuck_s=0.3) as engines:
        await leave(engines)
        before = engines.running()
        await asyncio.sleep(0.8)
        assert engines.running() == before
        assert engines.notes.evicted("stuck") == []
        sign.touch()
        await leave(engines)
        await until(lambda: engines.notes.evicted("stuck") == ["a"])


GRANDCHILD = """
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
serve()
"""


async def test_what_an_engine_started_in_a_session_of_its_own_ends_before_the_next_begins(tmp_path: Path) -> None:
    async with board(tmp_path, HOLDS + GRANDCHILD, memory_mb=200) as engines:
        await engines.supervisor.ensure_ready("a")
        before = engines.running()
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        await until(lambda: not any(map(lives, before)))


PARENT = """
import asyncio, logging, os, sys, uvloop
from pathlib import Path
from moltbot_edge.config.schema import Engines
from moltbot_edge.local.supervisor import EngineModel, Supervisor

async def main():
    models = {"small": EngineModel("small", Path(sys.argv[2]))}
    async with Supervisor(Engines(command=sys.argv[1]), models, log=logging.getLogger()) as supervisor:
        print(await supervisor.ensure_ready("small"), flush=True)
        await asyncio.sleep(600)

uvloop.run(main())
"""


async def test_what_a_killed_gateways_engine_left_is_ended_by_the_next_gateway(
    tmp_path: Path, small_file: Path
) -> None:
    program = fake_engine(tmp_path, GRANDCHILD)
    with killed_at_the_end(PARENT, program, small_file) as said:
        said.readline()
        assert len(processes_with("-IS", str(program))) == 2
    await until(lambda: len(processes_with("-IS", str(program))) == 1)  # the engine went with its gateway
    models = {"small": EngineModel("small", small_file)}
    async with Supervisor(Engines(command=str(program)), models, log=logging.getLogger("test")):
        await until(lambda: processes_with("-IS", str(program)) == [])


async def test_who_asked_for_it_sees_its_place_and_how_far_the_model_has_come(tmp_path: Path) -> None:
    seen: list[Progress] = []
    engines: Board
    async with board(tmp_path, "time.sleep(0.5);" + SERVES.replace("\n", ";")) as engines:
        async with engines.held("a"):
            waiting = [
                asyncio.create_task(asyncio.wait_for(leased(engines, "b", hear), 20))
                for hear in (lambda progress: None, seen.append)
            ]
            await until(lambda: bool(seen))
        await asyncio.gather(*waiting)
    assert seen[0] == Progress(Phase.QUEUED, 1)
    assert {one.phase for one in seen} == {Phase.QUEUED, Phase.LOADING}
    assert all(one.done is None or 0 <= one.done < 1 for one in seen)


async def leased(engines: Board, name: str, hear: Callable[[Progress], None]) -> None:
    async with engines.supervisor.lease(name, Wish(on_progress=hear)) as lease:
        lease.answered(None, None)


class Told(KeepsNothing):
    """A keeper that only remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def ready(self, name: str, address: tuple[str, int]) -> None:
        self.heard.append(f"ready {name}")

    async def before_request(self, name: str, address: tuple[str, int], wish: Wish) -> int | None:
        self.heard.append(f"request {wish.session}")
        if wish.session == "breaks":
            raise ValueError("a fault of the keeper's")
        return 3

    def after_reply(
        self, name: str, slot: int | None, wish: Wish, usage: Usage | None, timings: Timings | None
    ) -> None:
        self.heard.append(f"replied in {slot}")

    def left(self, name: str, slot: int | None) -> None:
        self.heard.append(f"left {slot}")

    async def before_stop(self, name: str, address: tuple[str, int]) -> None:
        self.heard.append(f"stops {name} {await is_ready(*address)}")

    def gone(self, name: str) -> None:
        self.heard.append(f"gone {name}")


async def test_a_keeper_is_told_of_an_engines_life_in_its_order(tmp_path: Path) -> None:
    keeper = Told()
    async with board(tmp_path, keeper=keeper) as engines:
        async with engines.supervisor.lease("a", Wish(session="x")) as lease:
            assert lease.slot == 3
            lease.answered(None, None)
        with suppress(asyncio.CancelledError):
            async with engines.supervisor.lease("a", Wish(session="y")):
                raise asyncio.CancelledError
        async with engines.supervisor.lease("a", Wish(session="breaks")) as lease:
            assert lease.slot is None
        await engines.supervisor.ensure_ready("b")
    assert keeper.heard[:6] == ["ready a", "request x", "replied in 3", "request y", "left 3", "request breaks"]
    assert keeper.heard[6:9] == ["stops a True", "gone a", "ready b"]
    assert keeper.heard[9:] == ["stops b True", "gone b"]


async def test_waiting_is_measured_for_each_request(tmp_path: Path) -> None:
    async with board(tmp_path) as engines, AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(engines.held("a"))
        assert [note.name for note in engines.notes if isinstance(note, Waited)] == ["a", "a", "a"]
        assert engines.room("a").serving == 3
