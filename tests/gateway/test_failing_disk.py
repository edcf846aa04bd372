"""A disk that fails now and then, before a commit, in it or after it: each turn is there once, and in its place."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kept_sessions import Clock, options, turn, words

from moltbot_edge.api import SessionConflict, StoreError
from moltbot_edge.gateway.unkept import Unkept
from moltbot_edge.stores.disk import Disk
from moltbot_edge.stores.table import Table

LONG_S = 1e6


def full() -> sqlite3.Error:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def failing(fails: Callable[[], bool], chance: random.Random) -> Callable[[Table], object]:
    writing = Table.writing

    def perhaps() -> None:
        if fails():
            raise chance.choice([full(), OSError(5, "Input/output error")])

    @contextmanager
    def writes(table: Table) -> Iterator[None]:
        perhaps()
        with writing(table):
            yield
            perhaps()
        perhaps()  # it is on the disk, and nobody knows

    return writes


async def goes_on(store: Unkept, session: str, asked: str, before: list[str]) -> None:
    """As a conversation does. *before* is what it was asked, with what is asked now."""
    async with store.held("", session, 60.0):
        try:
            kept = await store.load("", session)
        except StoreError:
            return
        assert ([] if kept is None else list(map(words, kept.turns))) == before
        before.append(asked)
        one = turn(asked, after=None if kept is None else kept.leaf)
        while True:
            try:
                await store.append("", session, one, None if kept is None else kept.stands)
            except SessionConflict:
                kept = await store.load("", session)
            except StoreError:  # it is held
                return
            else:
                return


@pytest.mark.parametrize("seed", range(4))
def test_each_turn_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance, clock = random.Random(seed), Clock()
    share = 0.0
    monkeypatch.setattr(Table, "writing", failing(lambda: chance.random() < share, chance))
    asked: dict[str, list[str]] = {f"talk-{number}": [] for number in range(4)}
    given = options(tmp_path / "s", clock=clock, timeout_s=LONG_S)

    async def scenario() -> None:
        nonlocal share
        async with Disk(given).open() as disk:
            store = Unkept(disk)
            for number in range(40):
                clock.now += chance.choice([0.0, 0.5, 2.0])
                share = chance.choice([0.0, 0.2, 0.9])
                names = [chance.choice(list(asked)) for _ in range(chance.randrange(1, 8))]
                many = (goes_on(store, name, f"{number}-{at}", asked[name]) for at, name in enumerate(names))
                await asyncio.gather(*many)
            share = 0.0
            clock.now += 2.0
            await store.close()
        async with Disk(given).open() as disk:
            for name, before in asked.items():
                kept = await disk.load("", name)
                assert ([] if kept is None else list(map(words, kept.turns))) == before

    asyncio.run(scenario())
