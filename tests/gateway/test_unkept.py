"""Turns that a store did not take, until it does. On a real store, which fails when it is told to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from kept_sessions import options, turn, words

from moltbot_edge.core.errors import SessionConflict, StoreFull, StoreUnreachable
from moltbot_edge.core.session import Kept, Turn, path
from moltbot_edge.gateway.unkept import Unkept
from moltbot_edge.stores.memory import Memory

pytestmark = pytest.mark.anyio


class Failing(Memory):
    """*full* takes nothing, *gone* cannot be read either."""

    full = gone = False

    async def load(self, owner: str, session: str) -> Kept | None:
        await asyncio.sleep(0)
        if self.gone:
            raise StoreUnreachable("it is gone")
        return await super().load(owner, session)

    async def append(self, owner: str, session: str, turn: Turn, leaf: str | None) -> None:
        await asyncio.sleep(0)
        if self.full or self.gone:
            raise StoreFull("no space is left")
        await super().append(owner, session, turn, leaf)


@asynccontextmanager
async def failing(folder: Path) -> AsyncIterator[tuple[Failing, Unkept]]:
    store = Failing(options(folder))
    unkept = Unkept(store, limit_bytes=20_000)
    yield store, unkept
    store.full = store.gone = False
    await unkept.close()


async def goes_on(store: Unkept | Failing, session: str, *asked: str) -> list[Turn]:
    turns = []
    for one in asked:
        kept = await store.load("", session)
        leaf = None if kept is None else kept.leaf
        turns.append(turn(one, after=leaf))
        await store.append("", session, turns[-1], leaf)
    return turns


async def asked_in(store: Unkept | Failing, session: str = "talk") -> list[str]:
    kept = await store.load("", session)
    return [] if kept is None else list(map(words, kept.turns))


async def test_a_conversation_goes_on_while_its_store_is_full_and_is_whole_once_there_is_room(tmp_path: Path) -> None:
    async with failing(tmp_path) as (store, unkept):
        await goes_on(unkept, "talk", "one")
        store.full = True
        for asked in ("two", "three"):
            with pytest.raises(StoreFull):
                await goes_on(unkept, "talk", asked)
        assert await asked_in(unkept) == ["one", "two", "three"]
        assert await asked_in(store) == ["one"]
        store.full = False
        await goes_on(unkept, "talk", "four")
        assert await asked_in(store) == ["one", "two", "three", "four"]
        kept = await store.load("", "talk")
        assert kept is not None
        assert [one.parent for one in kept.turns] == [None, *(one.id for one in kept.turns[:-1])]


async def test_what_cannot_be_read_is_said_whatever_is_held(tmp_path: Path) -> None:
    async with failing(tmp_path) as (store, unkept):
        store.full = True
        with pytest.raises(StoreFull):
            await goes_on(unkept, "talk", "one")
        store.gone = True
        with pytest.raises(StoreUnreachable):
            await unkept.load("", "talk")


async def test_the_turn_of_one_session_makes_up_for_the_others_and_so_does_the_end(tmp_path: Path) -> None:
    async with failing(tmp_path) as (store, unkept):
        for end in (False, True):
            store.full = True
            for session in ("a", "b"):
                with pytest.raises(StoreFull):
                    await goes_on(unkept, f"{session}-{end}", "one")
            store.full = False
            await (unkept.close() if end else goes_on(unkept, "talk", "one"))
            assert await asked_in(store, f"a-{end}") == await asked_in(store, f"b-{end}") == ["one"]


async def test_where_another_gateway_went_on_meanwhile_both_stand_side_by_side(tmp_path: Path) -> None:
    async with failing(tmp_path) as (store, unkept):
        (first,) = await goes_on(unkept, "talk", "one")
        store.full = True
        with pytest.raises(StoreFull):
            await goes_on(unkept, "talk", "two, here")
        store.full = False
        await goes_on(store, "talk", "two, there")
        await goes_on(unkept, "other", "one")
        kept = await store.load("", "talk")
        assert kept is not None
        assert list(map(words, kept.turns)) == ["one", "two, there", "two, here"]
        assert [one.parent for one in kept.turns] == [None, first.id, first.id]


async def test_what_was_said_while_nothing_could_be_read_goes_on_with_what_is_kept(tmp_path: Path) -> None:
    async with failing(tmp_path) as (store, unkept):
        (first,) = await goes_on(store, "talk", "one")
        store.gone = True
        asked: list[Turn] = []
        for said in ("two", "three"):
            kept = unkept.waiting("", "talk")
            leaf = None if kept is None else kept.leaf
            asked.append(turn(said, after=leaf))
            with pytest.raises(StoreFull):
                await unkept.append("", "talk", asked[-1], leaf)
        assert unkept.waiting("", "other") is None
        store.gone = False
        before = await unkept.load("", "talk")
        assert before is not None
        assert list(map(words, path(before.turns, before.leaf))) == ["one", "two", "three"]
        await goes_on(unkept, "talk", "four")
        kept = await store.load("", "talk")
        assert kept is not None
        assert list(map(words, kept.turns)) == ["one", "two", "three", "four"]
        assert [one.parent for one in kept.turns] == [None, first.id, asked[0].id, asked[1].id]


async def test_a_session_begun_meanwhile_is_there_and_gone_when_it_is_deleted(tmp_path: Path) -> None:
    async with failing(tmp_path) as (store, unkept):
        store.full = True
        with pytest.raises(StoreFull):
            await goes_on(unkept, "talk", "one")
        with pytest.raises(SessionConflict):
            await unkept.add("", "talk", [turn("imported")])
        assert await unkept.delete("", "talk")
        assert await asked_in(unkept) == []
        assert not await unkept.delete("", "talk")


async def test_what_is_held_is_bounded_and_the_oldest_leaves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with failing(tmp_path) as (store, unkept):
        store.full = True
        for number in range(5):
            with pytest.raises(StoreFull):
                await goes_on(unkept, f"talk-{number}", "x" * 6000)
        there: Sequence[int] = [len(await asked_in(unkept, f"talk-{number}")) for number in range(5)]
        assert there == [0, 0, 1, 1, 1]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


async def test_who_makes_up_for_it_twice_at_once_doubles_nothing(tmp_path: Path) -> None:
    async with failing(tmp_path) as (store, unkept):
        store.full = True
        for session in ("a", "b", "c"):
            for asked in ("one", "two"):
                with pytest.raises(StoreFull):
                    await goes_on(unkept, session, asked)
        store.full = False
        await asyncio.gather(*(goes_on(unkept, session, "three") for session in ("a", "b", "c", "d")))
        for session in ("a", "b", "c"):
            assert await asked_in(store, session) == ["one", "two", "three"]


async def test_of_one_session_that_is_too_long_the_latest_turns_are_held(tmp_path: Path) -> None:
    async with failing(tmp_path) as (store, unkept):
        store.full = True
        for number in range(5):
            with pytest.raises(StoreFull):
                await goes_on(unkept, "talk", f"{number}" + "x" * 6000)
        assert [one[0] for one in await asked_in(unkept)] == ["2", "3", "4"]
        with pytest.raises(StoreFull):
            await goes_on(unkept, "talk", "x" * 30_000)
        assert await asked_in(unkept) == []


async def test_who_goes_on_meanwhile_is_held_longer_than_who_does_not(tmp_path: Path) -> None:
    async with failing(tmp_path) as (store, unkept):
        store.full = True
        for session in ("goes on", "idle", "goes on", "new"):
            with pytest.raises(StoreFull):
                await goes_on(unkept, session, "x" * 6000)
        assert [len(await asked_in(unkept, session)) for session in ("goes on", "idle", "new")] == [2, 0, 1]


async def test_a_beginning_of_its_own_is_none_that_did_not_know_what_is_kept(tmp_path: Path) -> None:
    async with failing(tmp_path) as (store, unkept):
        (first,) = await goes_on(unkept, "talk", "one")
        store.full = True
        with pytest.raises(StoreFull):
            await unkept.append("", "talk", turn("another beginning"), first.id)
        kept = await unkept.load("", "talk")
        assert kept is not None
        assert [one.parent for one in kept.turns] == [None, None]


async def test_what_is_held_and_would_be_too_large_holds_up_nobody(tmp_path: Path) -> None:
    store = Failing(options(tmp_path, session_bytes=20_000))
    unkept = Unkept(store)
    (first,) = await goes_on(unkept, "talk", "x" * 12_000)
    store.full = True
    with pytest.raises(StoreFull):
        await unkept.append("", "talk", turn("x" * 12_000, after=first), first.id)
    store.full = False
    await unkept.append("", "talk", turn("two", after=first), first.id)
    assert [one[:3] for one in await asked_in(unkept)] == ["xxx", "two"]


async def test_what_is_deleted_while_it_is_made_up_for_stays_deleted(tmp_path: Path) -> None:
    async with failing(tmp_path) as (store, unkept):
        await goes_on(unkept, "talk", "one")
        store.full = True
        with pytest.raises(StoreFull):
            await goes_on(unkept, "talk", "two")
        store.full = False
        for steps in range(8):
            making_up = asyncio.create_task(goes_on(unkept, f"other-{steps}", "one"))
            for _ in range(steps):
                await asyncio.sleep(0)
            await unkept.delete("", "talk")
            await making_up
            assert await asked_in(store) == []
            await goes_on(unkept, "talk", "one")
            store.full = True
            with pytest.raises(StoreFull):
                await goes_on(unkept, "talk", "two")
            store.full = False
