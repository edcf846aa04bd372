"""What every store does, whatever it keeps sessions in."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest
from kept_sessions import Clock, options, turn, words

from moltbot_edge.api import InvalidRequest, Overloaded, SessionBusy, SessionConflict, SessionTooLarge
from moltbot_edge.core.session import Turn
from moltbot_edge.core.store import Opens, Store, StoreOptions
from moltbot_edge.kernel.registry import Registry
from moltbot_edge.stores import envelope

Opened = tuple[Opens, StoreOptions]


def run_with(opened: Opened, scenario: object, **said: object) -> None:
    opens, given = opened

    async def ran() -> None:
        async with opens(msgspec.structs.replace(given, **said)) as store:
            await scenario(store)  # type: ignore[operator]

    asyncio.run(ran())


async def said(store: Store, owner: str, session: str, *asked: str) -> list[Turn]:
    turns: list[Turn] = []
    for one in asked:
        before = turns[-1] if turns else None
        turns.append(turn(one, after=before))
        await store.append(owner, session, turns[-1], before.id if before else None)
    return turns


def test_turns_come_back_as_they_were_and_in_their_order(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        turns = await said(store, "kitchen", "talk", "one", "two", "three")
        kept = await store.load("kitchen", "talk")
        assert kept is not None
        assert list(kept.turns) == turns
        assert kept.leaf == turns[-1].id
        assert kept.size_bytes > 0

    run_with(store, scenario)


def test_another_owner_has_a_session_of_the_same_name_for_itself(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        await said(store, "kitchen", "talk", "mine")
        assert await store.load("cellar", "talk") is None
        await said(store, "cellar", "talk", "yours")
        mine, yours = await store.load("kitchen", "talk"), await store.load("cellar", "talk")
        assert mine is not None
        assert yours is not None
        assert (words(mine.turns[0]), words(yours.turns[0])) == ("mine", "yours")
        assert not await store.delete("attic", "talk")
        assert await store.load("kitchen", "talk") is not None

    run_with(store, scenario)


def test_names_that_would_run_together_are_two(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        await said(store, "a", "bc", "one")
        assert await store.load("ab", "c") is None

    run_with(store, scenario)


def test_a_turn_after_one_that_is_not_the_last_is_refused_and_says_where_the_session_stands(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        first, second = await said(store, "", "talk", "one", "two")
        late = turn("late", after=first)
        with pytest.raises(SessionConflict, match=second.id):
            await store.append("", "talk", late, first.id)
        with pytest.raises(SessionConflict, match="already"):
            await store.append("", "talk", turn("new"), None)
        with pytest.raises(SessionConflict, match="not there any more"):
            await store.append("", "gone", late, first.id)
        kept = await store.load("", "talk")
        assert kept is not None
        assert [words(one) for one in kept.turns] == ["one", "two"]

    run_with(store, scenario)


def test_a_branch_is_kept_beside_what_it_leaves(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        first, second = await said(store, "", "talk", "one", "two")
        again = turn("two, please", after=second)
        again = Turn(id=again.id, at=again.at, parent=first.id, messages=again.messages, reply=again.reply)
        await store.append("", "talk", again, second.id)
        kept = await store.load("", "talk")
        assert kept is not None
        assert [one.parent for one in kept.turns] == [None, first.id, first.id]

    run_with(store, scenario)


def test_thirty_two_at_once_on_one_session_lose_nothing(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        async def writer(number: int) -> None:
            async with store.held("", "talk", 60.0):
                kept = await store.load("", "talk")
                leaf = kept.leaf if kept else None
                await store.append("", "talk", turn(f"from {number}", after=leaf), leaf)

        await asyncio.gather(*map(writer, range(32)))
        kept = await store.load("", "talk")
        assert kept is not None
        assert sorted(map(words, kept.turns)) == sorted(f"from {number}" for number in range(32))
        assert [one.parent for one in kept.turns] == [None, *(one.id for one in kept.turns[:-1])]

    run_with(store, scenario)


def test_thirty_two_that_do_not_wait_for_each_other_are_refused_and_lose_nothing(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        async def writer(number: int) -> None:
            while True:
                kept = await store.load("", "talk")
                leaf = kept.leaf if kept else None
                try:
                    return await store.append("", "talk", turn(f"from {number}", after=leaf), leaf)
                except SessionConflict:
                    continue

        await asyncio.gather(*map(writer, range(32)))
        kept = await store.load("", "talk")
        assert kept is not None
        assert sorted(map(words, kept.turns)) == sorted(f"from {number}" for number in range(32))

    run_with(store, scenario)


def test_who_comes_while_another_has_the_session_waits_in_line_or_is_refused(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        order: list[int] = []

        async def one(number: int) -> None:
            async with store.held("", "talk", 60.0):
                order.append(number)

        async with store.held("", "talk", 60.0):
            with pytest.raises(SessionBusy, match="at work in session 'talk'"):
                async with store.held("", "talk", 0.0):
                    pass
            with pytest.raises(SessionBusy, match=r"not free within 0\.05 s"):
                async with store.held("", "talk", 0.05):
                    pass
            async with store.held("", "another", 0.0), store.held("other owner", "talk", 0.0):
                pass
            waiting = []
            for number in range(4):
                waiting.append(asyncio.create_task(one(number)))
                await asyncio.sleep(0)
            waiting.pop(1).cancel()  # a caller that goes away gives up its place
        await asyncio.gather(*waiting)
        assert order == [0, 2, 3]

    run_with(store, scenario)


def test_who_comes_just_as_the_next_one_gets_it_does_not_wait_longer_than_he_would(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        first = store.held("", "talk", 1.0)
        await first.__aenter__()
        done = asyncio.Event()

        async def next_one() -> None:
            async with store.held("", "talk", 5.0):
                await done.wait()

        waiting = asyncio.create_task(next_one())
        await asyncio.sleep(0.01)
        leaving = asyncio.create_task(first.__aexit__(None, None, None))
        for _ in range(50):
            with pytest.raises(SessionBusy):
                async with store.held("", "talk", 0.0):
                    pass
            await asyncio.sleep(0)
        await leaving
        done.set()
        await waiting

    run_with(store, scenario)


def test_so_many_may_wait_and_no_more(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        async def wait() -> None:
            async with store.held("", "talk", 60.0):
                pass

        async with store.held("", "talk", 60.0):
            waiting = [asyncio.create_task(wait()) for _ in range(2)]
            await asyncio.sleep(0.01)
            with pytest.raises(Overloaded):
                await wait()
        await asyncio.gather(*waiting)

    run_with(store, scenario, waiters=2)


def test_a_session_that_is_too_large_is_refused_and_stays_as_it_was(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        (first,) = await said(store, "", "talk", "one")
        with pytest.raises(SessionTooLarge, match="session_mb"):
            await store.append("", "talk", turn("".join(map(str, range(9000))), after=first), first.id)
        kept = await store.load("", "talk")
        assert kept is not None
        assert kept.leaf == first.id

    run_with(store, scenario, session_bytes=8000)


def test_what_packs_well_counts_as_what_it_is_when_it_is_read(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        (first,) = await said(store, "", "talk", "x" * 60_000)
        kept = await store.load("", "talk")
        assert kept is not None
        assert 60_000 < kept.size_bytes < 65_000
        assert (await store.list("", 1)).sessions[0].size_bytes == kept.size_bytes
        with pytest.raises(SessionTooLarge):
            await store.append("", "talk", turn("x" * 60_000, after=first), first.id)
        with pytest.raises(SessionTooLarge):
            await store.add("", "other", [turn("\N{ROBOT FACE}" * 30_000)])

    run_with(store, scenario, session_bytes=100_000)


def test_the_list_shows_the_newest_first_page_by_page_and_to_each_its_own(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        for number in range(7):
            await said(store, "kitchen" if number % 2 else "cellar", f"talk-{number}", "one", "two")
            await asyncio.sleep(0.002)  # Redis keeps milliseconds
        kept = await store.load("cellar", "talk-0")
        assert kept is not None
        await store.append("cellar", "talk-0", turn("three", after=kept.leaf), kept.leaf)
        names: list[str] = []
        after = None
        while True:
            page = await store.list(None, 3, after)
            names += [one.session for one in page.sessions]
            if (after := page.after) is None:
                break
        assert names == ["talk-0", "talk-6", "talk-5", "talk-4", "talk-3", "talk-2", "talk-1"]
        own = (await store.list("kitchen", 10)).sessions
        assert [(one.owner, one.session, one.turns) for one in own] == [
            ("kitchen", "talk-5", 2),
            ("kitchen", "talk-3", 2),
            ("kitchen", "talk-1", 2),
        ]
        assert (await store.list("attic", 10)).sessions == ()

    run_with(store, scenario)


@pytest.mark.parametrize("after", ["x", "-1", "1e3", "9" * 19, "\u0663"])
def test_a_list_goes_on_only_where_one_ended(store: Opened, after: str) -> None:
    async def scenario(store: Store) -> None:
        with pytest.raises(InvalidRequest, match="goes on after"):
            await store.list(None, 3, after)

    run_with(store, scenario)


def test_a_long_session_is_read_off_the_event_loop(store: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: set[int] = set()
    opened = envelope.opened

    def noticed(kept: bytes) -> Turn:
        readers.add(threading.get_ident())
        return opened(kept)

    async def scenario(store: Store) -> None:
        turns = [turn(" ".join(str(place) for place in range(400))) for _ in range(200)]
        await store.add("", "talk", turns)
        monkeypatch.setattr(envelope, "opened", noticed)
        kept = await store.load("", "talk")
        assert kept is not None
        assert kept.turns == tuple(turns)
        assert threading.get_ident() not in readers

    run_with(store, scenario)


def test_what_is_deleted_is_gone_and_may_begin_again(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        await said(store, "", "talk", "one", "two")
        assert await store.delete("", "talk")
        assert await store.load("", "talk") is None
        assert (await store.list(None, 10)).sessions == ()
        assert not await store.delete("", "talk")
        await said(store, "", "talk", "again")

    run_with(store, scenario)


def test_a_whole_session_is_added_at_once_and_never_over_another(store: Opened) -> None:
    async def scenario(store: Store) -> None:
        turns = await said(store, "", "talk", "one", "two", "three")
        await store.add("", "fork", turns[:2])
        with pytest.raises(SessionConflict, match="already"):
            await store.add("", "fork", turns)
        kept = await store.load("", "fork")
        assert kept is not None
        assert list(kept.turns) == turns[:2]
        await store.compact()
        assert (await store.stats()).size_bytes > 0

    run_with(store, scenario)


@pytest.mark.parametrize("name", ["disk", "memory"])
def test_a_session_that_was_idle_too_long_is_gone(name: str, tmp_path: Path) -> None:
    clock = Clock()

    async def scenario() -> None:
        opens: Opens = Registry().build("store", name)
        async with opens(options(tmp_path / "s", clock=clock, timeout_s=60.0)) as store:
            await said(store, "", "talk", "one")
            (begun,) = await said(store, "", "other", "one")
            clock.now += 59
            await store.append("", "other", turn("two", after=begun), begun.id)
            clock.now += 1
            assert await store.load("", "talk") is None
            assert [one.session for one in (await store.list(None, 9)).sessions] == ["other"]
            await said(store, "", "talk", "new")  # which no longer stands in the way
            kept = await store.load("", "talk")
            assert kept is not None
            assert [words(one) for one in kept.turns] == ["new"]

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["disk", "memory"])
def test_a_full_store_lets_the_longest_idle_go_first_and_none_that_goes_on(name: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        opens: Opens = Registry().build("store", name)
        async with opens(options(tmp_path / "s", size_bytes=400_000)) as store:
            (begun,) = await said(store, "", "goes on", "one")
            for number in range(300):
                text = " ".join(str(number * place) for place in range(500))
                await store.append("", f"talk-{number}", turn(text), None)
                if number % 20 == 0:
                    after = turn("more", after=begun)
                    await store.append("", "goes on", after, begun.id)
                    begun = after
            await store.stats()  # the thread has come to its end of tidying
            names = [one.session for one in (await store.list(None, 1000)).sessions]
            assert "goes on" in names
            assert "talk-299" in names
            assert names[-1] != "talk-0"
            left = [int(name.removeprefix("talk-")) for name in names if name != "goes on"]
            assert left == list(range(299, 299 - len(left), -1))
            assert 20 < len(left) < 299
            assert (await store.stats()).size_bytes <= 400_000

    asyncio.run(scenario())
