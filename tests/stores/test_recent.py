"""What the disk store has in memory of sessions that went on lately, beside what is on the disk."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path

import pytest
from kept_sessions import Clock, options, turn, words

from moltbot_edge.api import SessionConflict, StoreError
from moltbot_edge.core.chat import Message, Role, Text, Tool, ToolCall
from moltbot_edge.core.session import Kept, Turn
from moltbot_edge.core.store import Store
from moltbot_edge.stores.disk import Disk
from moltbot_edge.stores.recent import LARGEST, Known, Recent
from moltbot_edge.stores.table import Label, Row, Table
from moltbot_edge.stores.weight import weight_bytes


def at_once(store: Store, session: str) -> Kept | None:
    """What is read without waiting for anybody. Raises `AssertionError` where somebody has to be waited for."""
    reading = store.load("", session)
    try:
        reading.send(None)
    except StopIteration as read:
        found: Kept | None = read.value
        return found
    finally:
        reading.close()
    raise AssertionError("the disk is waited for")


def known(text: str, name: str = "talk") -> Known:
    one = turn(text)
    leaf = Row(0, name.encode(), Label(one.id, 0.0, len(text)))
    return Known(("", name), Kept((one,), len(text)), leaf, weight_bytes([one]))


def test_who_goes_on_with_a_session_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Disk(options(tmp_path / "s")).open() as store:
            first = turn("one")
            await store.append("", "talk", first, None)
            second = turn("two", after=first)
            kept = at_once(store, "talk")
            assert kept is not None
            await store.append("", "talk", second, kept.leaf)
            assert at_once(store, "talk") == Kept((first, second), (await store.list("", 1)).sessions[0].size_bytes)
        async with Disk(options(tmp_path / "s")).open() as store:
            with pytest.raises(AssertionError, match="waited for"):
                at_once(store, "talk")
            read = await store.load("", "talk")
            assert read is not None
            assert at_once(store, "talk") is read

    asyncio.run(scenario())


def test_of_another_name_or_idle_or_deleted_nothing_is_told_from_memory(tmp_path: Path) -> None:
    clock = Clock()

    async def scenario() -> None:
        async with Disk(options(tmp_path / "s", clock=clock, timeout_s=60.0)).open() as store:
            for name in ("idle", "deleted"):
                await store.append("", name, turn("one"), None)
            assert await store.load("kitchen", "idle") is None
            await store.delete("", "deleted")
            assert await store.load("", "deleted") is None
            with pytest.raises(SessionConflict):
                await store.append("", "deleted", turn("two"), turn("one").id)
            clock.now += 61
            assert await store.load("", "idle") is None
            await store.append("", "idle", turn("new"), None)
            kept = await store.load("", "idle")
            assert kept is not None
            assert list(map(words, kept.turns)) == ["new"]

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(3))
def test_memory_and_disk_say_the_same_whatever_is_done(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    clock = Clock()
    names = [f"talk-{number}" for number in range(6)]

    async def done(store: Store) -> None:
        name = chance.choice(names)
        match chance.randrange(8):
            case 0:
                await store.delete("", name)
            case 1:
                clock.now += chance.randrange(30)
            case 2:
                kept = await store.load("", chance.choice(names))
                with suppress(SessionConflict):
                    await store.add("", name, kept.turns if kept is not None else [turn("added")])
            case 3:  # two at a time, of which one is late
                one, other = turn("one"), turn("other")
                kept = await store.load("", name)
                leaf = None if kept is None else kept.leaf
                both = (store.append("", name, one, leaf), store.append("", name, other, leaf))
                said = await asyncio.gather(*both, return_exceptions=True)
                assert SessionConflict in map(type, said)
            case _:
                kept = await store.load("", name)
                leaf = None if kept is None else kept.leaf
                with suppress(SessionConflict):  # somebody else was there first
                    await store.append("", name, turn(chance.randbytes(40).hex(), after=leaf), leaf)

    async def scenario() -> None:
        given = options(tmp_path / "s", clock=clock, timeout_s=100.0)
        for _ in range(10):
            async with Disk(given).open() as store:
                for _ in range(40):
                    await asyncio.gather(*(done(store) for _ in range(chance.randrange(1, 4))))
                in_memory = [await store.load("", name) for name in names]
            async with Disk(given).open() as store:
                assert [await store.load("", name) for name in names] == in_memory

    asyncio.run(scenario())


def test_what_could_not_be_written_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    async def scenario() -> None:
        async with Disk(options(tmp_path / "s", clock=clock)).open() as store:
            first = turn("one")
            await store.append("", "talk", first, None)
            with monkeypatch.context() as broken:
                broken.setattr(Table, "insert", fails_after(Table.insert))
                with pytest.raises(StoreError):
                    await store.append("", "talk", turn("two", after=first), first.id)
            clock.now += 2
            kept = await store.load("", "talk")
            assert kept is not None
            assert list(map(words, kept.turns)) == ["one"]
            await store.append("", "talk", turn("two", after=first), first.id)

    def fails_after(insert: object) -> object:
        def failing(*given: object) -> None:
            insert(*given)  # type: ignore[operator]
            raise OSError(5, "Input/output error")

        return failing

    asyncio.run(scenario())


def test_what_is_remembered_is_bounded_and_what_went_on_longest_ago_goes_first() -> None:
    recent = Recent(limit_bytes=40_000)
    for number in range(100):
        recent.put(b"%d" % number, known("x" * 1000, str(number)))
        if recent.get(b"0") is not None:
            recent.put(b"0", known("y" * 1000, "0"))
    there = [number for number in range(100) if recent.get(b"%d" % number) is not None]
    assert there == [0, *range(101 - len(there), 100)]
    assert 10 < len(there) < 40
    recent.put(b"large", known("x" * (40_000 // LARGEST)))
    assert recent.get(b"large") is None
    recent.put(b"0", None)
    assert recent.get(b"0") is None


def test_what_is_written_now_is_told_to_writers_and_to_readers_when_it_is_there() -> None:
    recent = Recent()
    one, other = known("one"), known("other")
    recent.expect(b"talk", one)
    assert recent.standing(b"talk") is one
    assert recent.get(b"talk") is None
    recent.settle()
    assert recent.get(b"talk") is one
    recent.expect(b"talk", None)
    assert recent.standing(b"talk") is None
    recent.expect(b"talk", other)
    recent.clear()
    assert recent.standing(b"talk") is recent.get(b"talk") is None


def test_all_of_a_turn_weighs() -> None:
    def weight(**said: object) -> int:
        one = {"id": "1", "at": 0.0, "messages": (), "reply": Message(Role.ASSISTANT, ()), **said}
        return weight_bytes([Turn(**one)])  # type: ignore[arg-type]

    text = Text(text="x" * 5000)
    for more in (
        {"messages": (Message(Role.USER, (text,)),)},
        {"reply": Message(Role.ASSISTANT, (ToolCall(id="1", name="f", arguments="x" * 5000),))},
        {"system": (Message(Role.SYSTEM, (text,)),)},
        {"tools": (Tool("f", parameters=b"x" * 5000),)},
    ):
        assert weight(**more) - weight() >= 5000
    assert weight(messages=(Message(Role.USER, (Text(text="x" * 5000 + "\N{ROBOT FACE}"),)),)) > 20_000
