"""Sessions that leave, and those that stay although their time is over: who is at work in them goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from kept_sessions import Clock, options, turn, words

from moltbot_edge.api import SessionConflict
from moltbot_edge.core.store import Opens, Store
from moltbot_edge.kernel.registry import Registry
from moltbot_edge.stores.disk import Disk
from moltbot_edge.stores.table import FILE, Table, connected

OF_THIS_PROCESS = pytest.mark.parametrize("name", ["disk", "memory"])


async def asked_in(store: Store, session: str = "talk") -> list[str]:
    kept = await store.load("", session)
    return [] if kept is None else list(map(words, kept.turns))


@OF_THIS_PROCESS
def test_a_reply_that_takes_longer_than_a_session_may_be_idle_is_kept_with_it(name: str, tmp_path: Path) -> None:
    clock = Clock()

    async def scenario() -> None:
        opens: Opens = Registry().build("store", name)
        async with opens(options(tmp_path / "s", clock=clock, timeout_s=60.0)) as store:
            first, second = turn("one"), turn("other")
            await store.append("", "talk", first, None)
            await store.append("", "idle", second, None)
            async with store.held("", "talk", 1.0):
                clock.now += 600
                await store.append("", "new", turn("new"), None)  # the others are looked after
                assert (await store.stats()).turns == 2
                await store.append("", "talk", turn("two", after=first), first.id)
            assert await asked_in(store) == ["one", "two"]
            with pytest.raises(SessionConflict):
                await store.append("", "idle", turn("two", after=second), second.id)

    asyncio.run(scenario())


@OF_THIS_PROCESS
def test_who_goes_on_after_a_turn_has_it_before_him_although_its_time_is_over(name: str, tmp_path: Path) -> None:
    clock = Clock()

    async def scenario() -> None:
        opens: Opens = Registry().build("store", name)
        async with opens(options(tmp_path / "s", clock=clock, timeout_s=60.0)) as store:
            first = turn("one")
            await store.append("", "talk", first, None)
            await store.stats()  # once what is done after a turn is done
            clock.now += 60
            assert await store.load("", "talk") is None
            await store.append("", "talk", turn("two", after=first), first.id)
            assert await asked_in(store) == ["one", "two"]

    asyncio.run(scenario())


@OF_THIS_PROCESS
def test_a_full_store_keeps_who_is_at_work(name: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        opens: Opens = Registry().build("store", name)
        async with opens(options(tmp_path / "s", size_bytes=400_000)) as store:
            first = turn("one")
            await store.append("", "talk", first, None)
            async with store.held("", "talk", 1.0):
                for number in range(300):
                    text = " ".join(str(number * place) for place in range(500))
                    await store.append("", f"talk-{number}", turn(text), None)
                assert (await store.stats()).size_bytes <= 400_000
                await store.append("", "talk", turn("two", after=first), first.id)
            assert await asked_in(store) == ["one", "two"]

    asyncio.run(scenario())


def test_what_begins_after_all_has_left_leaves_in_its_time(tmp_path: Path) -> None:
    clock = Clock()

    async def scenario() -> None:
        async with Disk(options(tmp_path / "s", clock=clock, timeout_s=60.0)).open() as store:
            for _ in range(3):
                for session in ("a", "b", "c"):
                    await store.append("", session, turn("one"), None)
                clock.now += 600
                await store.append("", "last", turn("one"), None)
                await store.stats()
                assert (await store.stats()).turns == 1
                assert await store.delete("", "last")

    asyncio.run(scenario())


def test_after_a_turn_that_is_damaged_its_session_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "s"

    async def scenario() -> None:
        async with Disk(options(folder)).open() as store:
            first = turn("one")
            second = turn("two", after=first)
            await store.append("", "talk", first, None)
            await store.append("", "talk", second, first.id)
        with closing(connected(folder / FILE)) as con:
            con.execute("UPDATE Cache SET value = zeroblob(length(value)) WHERE rowid = 2")
        async with Disk(options(folder)).open() as store:
            kept = await store.load("", "talk")
            assert kept is not None
            assert (kept.leaf, kept.stands) == (first.id, second.id)
            await store.append("", "talk", turn("three", after=kept.leaf), kept.stands)
            assert await asked_in(store) == ["one", "three"]

    asyncio.run(scenario())


def test_a_commit_that_fails_once_it_is_done_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing = Table.writing

    @contextmanager
    def failing(table: Table) -> Iterator[None]:
        with writing(table):
            yield
        raise OSError(5, "Input/output error")

    async def scenario() -> None:
        async with Disk(options(tmp_path / "s")).open() as store:
            turns = [turn(f"one {number}") for number in range(3)]
            puts = [store.append("", f"talk-{number}", one, None) for number, one in enumerate(turns)]
            with monkeypatch.context() as broken:
                broken.setattr(Table, "writing", failing)
                await asyncio.gather(*puts, return_exceptions=True)
            await asyncio.sleep(1.1)  # then the folder is looked at again
            for number, one in enumerate(turns):
                await store.append("", f"talk-{number}", one, None)
                assert await asked_in(store, f"talk-{number}") == [f"one {number}"]

    asyncio.run(scenario())
