"""The Redis store, at a real server: several gateways, and one that is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from kept_sessions import RedisServer, options, turn, words

from moltbot_edge.api import SessionBusy, StoreFull, StoreReadOnly, StoreUnreachable
from moltbot_edge.core.store import Store
from moltbot_edge.stores import redis
from moltbot_edge.stores.redis import opened


async def goes_on(store: Store, asked: str) -> None:
    kept = await store.load("kitchen", "talk")
    leaf = kept.leaf if kept else None
    await store.append("kitchen", "talk", turn(asked, after=leaf), leaf)


async def asked_in(store: Store) -> list[str]:
    kept = await store.load("kitchen", "talk")
    return [] if kept is None else list(map(words, kept.turns))


def test_what_one_gateway_keeps_another_goes_on_with(redis_server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        given = options(tmp_path, url=redis_server.url)
        async with opened(given) as one, opened(given) as other:
            await goes_on(one, "one")
            await goes_on(other, "two")
            assert await asked_in(one) == ["one", "two"]

    asyncio.run(scenario())


def test_thirty_two_writers_at_two_gateways_lose_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        given = options(tmp_path, url=redis_server.url)
        async with opened(given) as one, opened(given) as other:

            async def writer(number: int) -> None:
                store = one if number % 2 else other
                async with store.held("kitchen", "talk", 60.0):
                    await goes_on(store, f"from {number}")

            await asyncio.gather(*map(writer, range(32)))
            assert sorted(await asked_in(one)) == sorted(f"from {number}" for number in range(32))

    asyncio.run(scenario())


def test_a_session_that_another_gateway_has_is_busy_here_and_free_once_that_one_is_done(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        given = options(tmp_path, url=redis_server.url)
        async with opened(given) as one, opened(given) as other:
            async with one.held("kitchen", "talk", 1.0):
                with pytest.raises(SessionBusy):
                    async with other.held("kitchen", "talk", 0.0):
                        pass
                with pytest.raises(SessionBusy, match="not free within"):
                    async with other.held("kitchen", "talk", 0.1):
                        pass
            async with other.held("kitchen", "talk", 0.0):
                pass

    asyncio.run(scenario())


def test_the_lease_of_a_gateway_that_died_ends_and_of_one_that_works_does_not(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "LEASE_S", 0.6)

    async def scenario() -> None:
        given = options(tmp_path, url=redis_server.url)
        async with opened(given) as one, opened(given) as other:
            async with one.held("kitchen", "talk", 0.0):
                await asyncio.sleep(1.2)
                with pytest.raises(SessionBusy):
                    async with other.held("kitchen", "talk", 0.0):
                        pass
                for task in asyncio.all_tasks():  # as if it had died
                    if getattr(task.get_coro(), "__qualname__", "").endswith("_renew"):
                        task.cancel()
                async with other.held("kitchen", "talk", 30.0):
                    await goes_on(other, "one")
            assert await asked_in(one) == ["one"]

    asyncio.run(scenario())


def test_an_idle_session_ends_at_the_server(redis_server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(options(tmp_path, url=redis_server.url, timeout_s=0.2)) as store:
            await goes_on(store, "one")
            await asyncio.sleep(0.5)
            assert await asked_in(store) == []
            assert (await store.list("kitchen", 10)).sessions == ()
            await goes_on(store, "anew")
            assert await asked_in(store) == ["anew"]

    asyncio.run(scenario())


def test_a_session_does_not_end_at_the_server_while_somebody_is_at_work_in_it(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "LEASE_S", 0.9)

    async def scenario() -> None:
        async with opened(options(tmp_path, url=redis_server.url, timeout_s=1.2)) as store:
            await goes_on(store, "one")
            async with store.held("kitchen", "talk", 1.0):
                await asyncio.sleep(2.5)
                await goes_on(store, "two")
            assert await asked_in(store) == ["one", "two"]

    asyncio.run(scenario())


def test_a_server_that_is_not_there_is_said_without_its_password_and_found_once_it_is(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.stop()
    url = redis_server.url.replace("redis://", "redis://:secret@")

    async def scenario() -> None:
        async with opened(options(tmp_path, url=url)) as store:
            for call in (
                store.load("kitchen", "talk"),
                store.append("kitchen", "talk", turn("one"), None),
                store.list(None, 10),
            ):
                with pytest.raises(StoreUnreachable, match=rf"127\.0\.0\.1:{redis_server.port}") as said:
                    await call
                assert "secret" not in str(said.value)
            with pytest.raises(StoreUnreachable):
                async with store.held("kitchen", "talk", 1.0):
                    pass
            assert isinstance(store.trouble, StoreUnreachable)
            await asyncio.to_thread(redis_server.start, "--requirepass", "secret")
            await goes_on(store, "one")
            assert store.trouble is None
            assert await asked_in(store) == ["one"]
            redis_server.stop()
            await asyncio.to_thread(redis_server.start, "--requirepass", "secret")
            await goes_on(store, "after a restart")  # the connection that was kept is stale

    asyncio.run(scenario())


def test_a_server_without_room_and_a_replica_say_so(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.stop()
    redis_server.start("--maxmemory", "100kb", "--maxmemory-policy", "noeviction")

    async def scenario(error: type[Exception]) -> None:
        async with opened(options(tmp_path, url=redis_server.url)) as store:
            with pytest.raises(error):
                await goes_on(store, "one")

    asyncio.run(scenario(StoreFull))
    redis_server.stop()
    redis_server.start("--replicaof", "127.0.0.1 1")
    asyncio.run(scenario(StoreReadOnly))


def test_who_became_a_replica_is_left_for_whoever_has_its_name_now(redis_server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(options(tmp_path, url=redis_server.url)) as store:
            server = store._server  # type: ignore[attr-defined]
            await goes_on(store, "one")
            before = (await server.info("stats"))["total_connections_received"]
            await server.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreReadOnly):
                await goes_on(store, "two")
            assert (await server.info("stats"))["total_connections_received"] == before + 1
            await server.replicaof("NO", "ONE")
            await goes_on(store, "two")

    asyncio.run(scenario())


def test_turns_that_were_not_written_here_are_passed_over(redis_server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(options(tmp_path, url=redis_server.url)) as store:
            await goes_on(store, "one")
            last = (await store._server.lrange(redis._turns("kitchen", "talk"), -1, -1))[0]  # type: ignore[attr-defined]
            head = last[: redis.HEAD_CHARS]
            await store._server.rpush(redis._turns("kitchen", "talk"), head + b"\x80\x04K\x01.")  # type: ignore[attr-defined]
            assert await asked_in(store) == ["one"]

    asyncio.run(scenario())


def test_whoever_leaves_at_any_moment_gives_up_the_lease_and_the_next_finds_what_it_wrote(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        given = options(tmp_path, url=redis_server.url)
        async with opened(given) as one, opened(given) as other:

            async def writer(number: int) -> None:
                async with one.held("kitchen", "talk", 5.0):
                    await goes_on(one, f"from {number}")

            for number in range(120):
                leaver = asyncio.create_task(writer(number))
                await asyncio.sleep(0.00003 * number)
                leaver.cancel()
                await asyncio.wait([leaver])
                async with other.held("kitchen", "talk", 0.0):
                    before = await asked_in(other)
                    await asyncio.sleep(0.002)
                    assert await asked_in(other) == before

    asyncio.run(scenario())
