"""How turns that end together come to be one commit. On a real folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kept_sessions import options, turn

from moltbot_edge.api import StoreUnreachable
from moltbot_edge.core.store import Store
from moltbot_edge.stores import worker
from moltbot_edge.stores.disk import Disk
from moltbot_edge.stores.table import Table


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many there were, as long as the list is; nobody who gathers ends by the clock."""
    monkeypatch.setattr(worker, "GATHER_S", 60.0)
    counted: list[int] = []
    writing = Table.writing

    @contextmanager
    def counting(table: Table) -> Iterator[None]:
        counted.append(1)
        with writing(table):
            yield

    monkeypatch.setattr(Table, "writing", counting)
    return counted


async def talks(store: Store, number: int) -> None:
    async with store.held("", f"talk-{number}", 60.0):
        for _ in range(number):  # they do not come at the same moment
            await asyncio.sleep(0)
        await store.append("", f"talk-{number}", turn("one"), None)


def test_sessions_at_work_whose_turns_end_one_after_the_other_share_a_commit(
    tmp_path: Path, commits: list[int]
) -> None:
    async def scenario() -> None:
        async with Disk(options(tmp_path / "s")).open() as store:
            await asyncio.gather(*(talks(store, number) for number in range(12)))
            assert len(commits) == 1
            for number in range(12):
                assert await store.load("", f"talk-{number}")

    asyncio.run(scenario())


def test_who_is_alone_waits_for_nobody(tmp_path: Path, commits: list[int]) -> None:
    async def scenario() -> None:
        async with Disk(options(tmp_path / "s")).open() as store:
            for number in range(3):
                await talks(store, number)
            assert len(commits) == 3

    asyncio.run(scenario())


def test_who_reads_waits_for_no_turn_and_takes_along_those_that_gather(tmp_path: Path, commits: list[int]) -> None:
    async def scenario() -> None:
        async with Disk(options(tmp_path / "s")).open() as store, store.held("", "thinks still", 60.0):
            writing = asyncio.create_task(talks(store, 0))
            await asyncio.sleep(0.01)
            assert not writing.done()
            assert (await store.stats()).size_bytes
            await writing
            assert len(commits) == 1

    asyncio.run(scenario())


def test_a_store_that_is_closed_writes_what_gathers(tmp_path: Path, commits: list[int]) -> None:
    async def scenario() -> None:
        async with Disk(options(tmp_path / "s")).open() as store:
            held = store.held("", "thinks still", 60.0)
            await held.__aenter__()
            writing = asyncio.create_task(talks(store, 0))
            await asyncio.sleep(0.01)
            assert not commits
        await writing
        assert len(commits) == 1

    asyncio.run(scenario())


def test_a_store_that_is_closed_leaves_nobody_waiting(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Disk(options(tmp_path / "s")).open() as store:
            await talks(store, 1)
        with pytest.raises(StoreUnreachable, match="closed"):
            await store.append("", "late", turn("one"), None)

    asyncio.run(scenario())
