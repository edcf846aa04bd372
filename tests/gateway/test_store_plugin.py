"""A store from a plug-in: the one that docs/extend.md shows, as it stands there; then some that are not right."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway, serving
from raw_caller import request
from scripted_upstream import Upstream, hangs, says, upstream

from moltbot_edge.api import Page, StoreFull, StoreOptions, StoreReadOnly, StoreUnreachable
from moltbot_edge.config.schema import Config, Model, Sessions
from moltbot_edge.core.session import Kept, Turn
from moltbot_edge.kernel.discover import in_folder
from moltbot_edge.kernel.registry import Plugin
from moltbot_edge.stores.memory import Memory

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"
SESSION = "x-moltbot-session: talk"


@pytest.fixture
def files(tmp_path: Path) -> list[Plugin]:
    (source,) = [one for one in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "@store(" in one]
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o700)
    (folder / "files.py").write_text(source)
    found = in_folder(folder)
    assert found.problems == ()
    return list(found.plugins)


def kept(box: Upstream, store: str, path: Path, **more: Any) -> Config:
    return Config(
        model_registry=[Model(name="chat", endpoint=box.url)], sessions=Sessions(store=store, path=str(path), **more)
    )


def asks(words: str) -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": words}]}


def heard(box: Upstream) -> list[str]:
    return re.findall(r'"content": ?"(.*?)"', bytes(box.asked[-1].body).decode())


async def test_the_one_of_the_documentation_keeps_a_conversation_over_a_restart(
    tmp_path: Path, files: list[Plugin]
) -> None:
    folder = tmp_path / "talks"
    async with upstream(says("a house")) as box:
        for words in ("what is a casa?", "and a perro?", "thanks"):
            async with serving(kept(box, "files", folder), plugins=files) as gateway:
                assert (await gateway.ask(asks(words), SESSION)).status == 200
        assert heard(box) == ["what is a casa?", "a house", "and a perro?", "a house", "thanks"]
        (file,) = folder.rglob("*.jsonl")
        assert file.stat().st_mode & 0o777 == 0o600
        assert len(file.read_text().splitlines()) == 4
        file.write_text(file.read_text() + '{"id": "half a li')
        async with serving(kept(box, "files", folder), plugins=files) as gateway:
            await gateway.ask(asks("bye"), SESSION)
            assert heard(box)[-3:] == ["thanks", "a house", "bye"]
            (listed,) = (await gateway.get("/v1/sessions")).json["sessions"]
            assert (listed["session"], listed["turns"]) == ("talk", 4)
            gone = await gateway.ask(None, path="/v1/sessions/talk", method="DELETE")
            assert gone.status == 200
        assert list(folder.rglob("*.jsonl")) == []


async def test_one_that_knows_nothing_of_waiting_has_one_request_at_a_time(tmp_path: Path, files: list[Plugin]) -> None:
    async with (
        upstream(hangs(), says("two")) as box,
        serving(kept(box, "files", tmp_path / "talks", busy="refuse"), plugins=files) as gateway,
        gateway.caller() as first,
    ):
        await first.send(request(asks("one"), SESSION))
        await box.was_asked()
        refused = await gateway.ask(asks("two"), SESSION)
        assert (refused.status, refused.error["code"]) == (409, "session_busy")
        assert (await gateway.ask(asks("two"), "x-moltbot-session: other")).status == 200
        metrics = await gateway.metrics()
        assert metrics["moltbot_refused_total", "session_busy"] == 1
        assert metrics["moltbot_session_turns_total", "kept"] == 1
        first.leave()


class Failing(Memory):
    """*failure* is raised by what writes, *unread* by what reads."""

    failure: Exception | None = None
    unread: Exception | None = None

    async def load(self, owner: str, session: str) -> Kept | None:
        if self.unread is not None:
            raise self.unread
        return await super().load(owner, session)

    async def append(self, owner: str, session: str, turn: Turn, leaf: str | None) -> None:
        if self.failure is not None:
            raise self.failure
        await super().append(owner, session, turn, leaf)

    async def list(self, owner: str | None, limit: int, after: str | None = None) -> Page:
        if self.unread is not None:
            raise self.unread
        return await super().list(owner, limit, after)


Opens = Callable[[StoreOptions], AbstractAsyncContextManager[Memory]]


def plugged(opens: Opens) -> list[Plugin]:
    return [Plugin("store", "mine", opens, "a test")]


def of(made: list[Failing]) -> list[Plugin]:
    @asynccontextmanager
    async def opened(options: StoreOptions) -> AsyncIterator[Memory]:
        made.append(Failing(options))
        yield made[0]

    return plugged(opened)


async def ready(gateway: Gateway) -> tuple[int, str]:
    answer = await gateway.get("/ready")
    return answer.status, answer.json["sessions"]


async def test_trouble_is_said_once_and_so_is_its_end_and_every_reply_arrives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stores: list[Failing] = []
    caplog.set_level(logging.INFO, "moltbot_edge")
    async with upstream(says("yes")) as box, serving(kept(box, "mine", tmp_path), plugins=of(stores)) as gateway:
        assert await ready(gateway) == (200, "ok")
        assert stores == []
        assert (await gateway.ask(asks("one"), SESSION)).status == 200
        stores[0].failure = StoreFull("no space is left: make room")
        for _ in range(3):
            assert (await gateway.ask(asks("two"), SESSION)).json["choices"]
        assert await ready(gateway) == (200, "session_store_full")
        metrics = await gateway.metrics()
        assert metrics["moltbot_session_turns_total", "kept"] == 1
        assert metrics["moltbot_session_turns_total", "session_store_full"] == 3
        assert metrics["moltbot_session_store_troubles_total", "session_store_full"] == 1
        assert metrics["moltbot_session_store_well",] == 0
        stores[0].failure = StoreReadOnly("it is read-only: see dmesg")
        await gateway.ask(asks("two"), SESSION)
        stores[0].failure = None
        assert (await gateway.ask(asks("three"), SESSION)).status == 200
        assert await ready(gateway) == (200, "ok")
        assert (await gateway.metrics())["moltbot_session_store_well",] == 1
        gateway.errors.clear()
    said = [record.getMessage() for record in caplog.records if "watched_store" in record.name]
    assert said == [
        "sessions are kept by the plug-in 'mine'",
        "no space is left: make room; until that is well, replies come, and what is said is not kept",
        "it is read-only: see dmesg; until that is well, replies come, and what is said is not kept",
        "sessions are kept again by the plug-in 'mine'",
    ]


async def test_what_cannot_be_read_is_the_callers_to_know(tmp_path: Path) -> None:
    stores: list[Failing] = []
    async with (
        upstream(says("yes")) as box,
        serving(kept(box, "mine", tmp_path, unreadable="refuse"), plugins=of(stores)) as gateway,
    ):
        await gateway.ask(asks("one"), SESSION)
        stores[0].unread = ZeroDivisionError("a slip of the pen")
        answer = await gateway.ask(asks("two"), SESSION)
        assert (answer.status, answer.error["code"]) == (503, "session_store_unreachable")
        assert "ZeroDivisionError: a slip of the pen" in answer.error["message"]
        assert (await gateway.ask(asks("two"))).status == 200
        assert len(gateway.errors) == 1
        stores[0].unread = None
        assert (await gateway.ask(asks("two"), SESSION)).status == 200
        assert len(box.asked) == 3
        assert await ready(gateway) == (200, "ok")
        gateway.errors.clear()


async def test_one_that_does_not_open_is_tried_again_and_costs_no_request_without_a_session(tmp_path: Path) -> None:
    opened: list[Memory] = []

    @asynccontextmanager
    async def opens(options: StoreOptions) -> AsyncIterator[Memory]:
        if not (tmp_path / "there").exists():
            raise ConnectionRefusedError("nobody listens")
        opened.append(Memory(options))
        yield opened[0]

    async with upstream(says("yes")) as box, serving(kept(box, "mine", tmp_path), plugins=plugged(opens)) as gateway:
        for _ in range(2):
            answer = await gateway.ask(asks("one"), SESSION)
            assert (answer.status, answer.error["type"]) == (503, "store_error")
        assert (await gateway.ask(asks("one"))).status == 200
        assert await ready(gateway) == (200, "session_store_unreachable")
        assert [one.getMessage() for one in gateway.errors] == [
            "sessions cannot be kept by the plug-in 'mine': ConnectionRefusedError: nobody listens; "
            "until that is well, no session goes on"
        ]
        gateway.errors.clear()
        (tmp_path / "there").touch()
        together = await asyncio.gather(*(gateway.ask(asks("two"), SESSION) for _ in range(4)))
        assert {answer.status for answer in together} == {200}
        assert await ready(gateway) == (200, "ok")
    assert len(opened) == 1


@pytest.mark.parametrize("store", ["disk", "memory"])
async def test_what_all_sessions_take_is_told_beside_what_they_may(tmp_path: Path, store: str) -> None:
    async with upstream(says("yes")) as box, serving(kept(box, store, tmp_path / "talks", size_mb=32)) as gateway:
        assert (await gateway.metrics())["moltbot_session_store_bytes",] == 0
        assert not (tmp_path / "talks").exists()
        await gateway.ask(asks(secrets.token_hex(2000)), SESSION)
        metrics = await gateway.metrics()
        assert 2000 < metrics["moltbot_session_store_bytes",] < 100_000
        assert metrics["moltbot_session_store_limit_bytes",] == 32 * 1024 * 1024
        assert metrics["moltbot_session_store_seconds_count", "append"] == 1
        assert metrics["moltbot_session_wait_seconds_count",] == 1


class Unleased(Memory):
    """Nobody can have a session for himself, although each can be read."""

    @asynccontextmanager
    async def held(self, owner: str, session: str, wait_s: float) -> AsyncIterator[None]:
        raise StoreUnreachable("no lease is to be had")
        yield


async def test_what_was_read_whole_is_not_said_to_be_missing_because_nobody_could_have_it_alone(tmp_path: Path) -> None:
    @asynccontextmanager
    async def opened(options: StoreOptions) -> AsyncIterator[Memory]:
        yield Unleased(options)

    async with upstream(says("yes")) as box, serving(kept(box, "mine", tmp_path), plugins=plugged(opened)) as gateway:
        for words in ("one", "two"):
            answer = await gateway.ask(asks(words), SESSION)
            assert (answer.status, answer.header("x-moltbot-dropped")) == (200, None)
        assert heard(box) == ["one", "yes", "two"]
        gateway.errors.clear()
