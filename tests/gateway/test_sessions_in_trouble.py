"""A store of sessions that is locked, damaged, gone or planted, behind a gateway that serves: what its callers see.

A reply that was asked for still comes. Where what was said before cannot be read it says so, and its turn goes behind
that later; or there is no reply but an error, if that is wished (`unreadable: refuse`), for an answer to half a
conversation looks like one to the whole. The log says what is wrong, once.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway, serving
from kept_sessions import RedisServer
from scripted_upstream import DONE, Script, Upstream, Visit, delta, says, streams, upstream

from moltbot_edge.config.schema import Config, Model, Sessions
from moltbot_edge.stores import redis
from moltbot_edge.stores.table import FILE, prefix

pytestmark = pytest.mark.anyio

SESSION = "x-moltbot-session: talk"
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
LOCKED = "session_store_locked"
GONE = "session_store_unreachable"


def asks(words: str, **more: Any) -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": words}], **more}


# What a caller of each dialect sends, and where it is told what is wrong.
CALLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-chat": ("/v1/chat/completions", asks("second")),
    "openai-responses": ("/v1/responses", {"model": "chat", "input": "second"}),
    "anthropic-messages": ("/v1/messages", asks("second", max_tokens=9)),
    "ollama": ("/api/chat", asks("second", stream=False)),
}


def config(box: Upstream, **sessions: Any) -> Config:
    return Config(model_registry=[Model(name="chat", endpoint=box.url)], sessions=Sessions(**sessions))


def heard(box: Upstream, place: int = -1) -> list[str]:
    return [one["content"] for one in json.loads(box.asked[place].body)["messages"]]


def logged(gateway: Gateway) -> list[str]:
    """Its errors so far, which are no fault of the test then."""
    said = [record.getMessage() for record in gateway.errors]
    gateway.errors.clear()
    return said


async def is_refused(gateway: Gateway, code: str) -> None:
    """To callers of every dialect, in each one's own words, streaming and not."""
    for dialect, (path, body) in CALLERS.items():
        for stream in (False, True):
            answer = await gateway.ask({**body, "stream": stream}, SESSION, path=path)
            assert (dialect, answer.status) == (dialect, 503)
            assert answer.header("retry-after") == "5"
            error = answer.json["error"]
            said = error if dialect == "ollama" else error["message"]
            assert "sessions" in said or "Redis" in said
            if dialect.startswith("openai"):
                assert error["code"] == code
            assert "secret" not in said


async def is_answered(gateway: Gateway) -> None:
    """Callers of every dialect, each of whom is told that something may be missing."""
    for dialect, (path, body) in CALLERS.items():
        for stream in (False, True):
            answer = await gateway.ask({**body, "stream": stream}, SESSION, path=path)
            assert (dialect, answer.status) == (dialect, 200)
            assert answer.header("x-moltbot-dropped") == "session"
            assert b"One." in answer.body


async def keeps_what_has_no_name(gateway: Gateway, box: Upstream) -> None:
    """Nothing was said before: there is nothing that could be missing from the reply."""
    answer = await gateway.ask({"model": "chat", "input": "alone", "store": True}, path="/v1/responses")
    assert answer.status == 200, answer.body
    assert heard(box) == ["alone"]


async def test_a_folder_that_another_gateway_has(tmp_path: Path) -> None:
    async with upstream(says("One.")) as box:
        settings = config(box, path=str(tmp_path), unreadable="refuse")
        async with serving(settings) as other:
            assert (await other.ask(asks("first"), SESSION)).status == 200
            async with serving(settings) as gateway:
                await is_refused(gateway, LOCKED)
                await keeps_what_has_no_name(gateway, box)
                assert (await gateway.ask(asks("without a session"))).status == 200
                (said,) = logged(gateway)
                assert f"in use by another process ({os.getpid()})" in said
                logged(other)
                other.stop()
                while (answer := await gateway.ask(asks("second"), SESSION)).status == 503:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                assert answer.status == 200
                assert heard(box) == ["first", "One.", "second"]


async def test_what_was_said_while_another_gateway_had_the_folder_goes_behind_what_is_kept(tmp_path: Path) -> None:
    async with upstream(says("One.")) as box:
        settings = config(box, path=str(tmp_path))
        async with serving(settings) as other:
            assert (await other.ask(asks("first"), SESSION)).status == 200
            async with serving(settings) as gateway:
                second = await gateway.ask(asks("second"), SESSION)
                assert (second.status, second.header("x-moltbot-dropped")) == (200, "session")
                assert heard(box) == ["second"]
                third = await gateway.ask(asks("third"), SESSION)
                assert (third.status, third.header("x-moltbot-dropped")) == (200, "session")
                assert heard(box) == ["second", "One.", "third"]
                (said,) = logged(gateway)
                assert f"in use by another process ({os.getpid()})" in said
                after = {"previous_response_id": f"resp_{second.header('x-moltbot-turn')}_talk"}
                refused = await gateway.ask({"model": "chat", "input": "x", **after}, path="/v1/responses")
                assert (refused.status, refused.json["error"]["code"]) == (503, LOCKED)
                await is_answered(gateway)
                logged(other)
                other.stop()
                while (answer := await gateway.ask(asks("last"), SESSION)).header("x-moltbot-dropped"):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                assert answer.status == 200
                assert heard(box)[:6] == ["first", "One.", "second", "One.", "third", "One."]
                assert heard(box)[-1] == "last"
                kept = (await gateway.get("/v1/sessions/talk")).json["turns"]
                assert [one["parent"] for one in kept] == [None, *(one["id"] for one in kept[:-1])]


async def test_a_file_that_is_damaged_is_set_aside_and_the_rest_is_served(tmp_path: Path) -> None:
    async with upstream(says("One.")) as box:
        settings = config(box, path=str(tmp_path))
        async with serving(settings) as gateway:
            for number in range(40):
                answer = await gateway.ask(asks(f"first {number}"), f"x-moltbot-session: talk-{number}")
                assert answer.status == 200
        damage(tmp_path / FILE)
        async with serving(settings) as gateway:
            whole = 0
            for number in range(40):
                answer = await gateway.ask(asks("second"), f"x-moltbot-session: talk-{number}")
                assert answer.status == 200
                assert heard(box) in ([f"first {number}", "One.", "second"], ["second"])
                whole += len(heard(box)) == 3
            assert whole >= 30
            assert sum("set aside as cache.db.damaged-20" in said for said in logged(gateway)) == 1
    assert set_aside(tmp_path)


def set_aside(folder: Path) -> list[Path]:
    return list(folder.glob("*.damaged-20??????T??????Z"))


def damage(file: Path) -> None:
    """Some pages in the midst of the turns."""
    with file.open("r+b") as damaged:
        size = file.stat().st_size
        for share in (0.4, 0.6):
            damaged.seek(int(size * share) // 512 * 512)
            damaged.write(b"\xff" * 512)


async def test_a_file_that_is_no_store_at_all(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"This is a letter to my aunt. " * 400)
    async with upstream(says("One.")) as box, serving(config(box, path=str(tmp_path))) as gateway:
        for words in ("first", "second"):
            assert (await gateway.ask(asks(words), SESSION)).status == 200
        assert heard(box) == ["first", "One.", "second"]
        (said,) = logged(gateway)
        assert "set aside as cache.db.damaged-20" in said
    (aside,) = set_aside(tmp_path)
    assert aside.read_bytes().startswith(b"This is a letter")


async def test_a_planted_pickle_never_runs(tmp_path: Path) -> None:
    witness, folder = tmp_path / "it ran", tmp_path / "sessions"

    class Planted:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch '{witness}'",)

    planted = pickle.dumps(Planted())
    async with upstream(says("One.")) as box:
        settings = config(box, path=str(folder))
        async with serving(settings) as gateway:
            for words in ("first", "second", "third"):
                await gateway.ask(asks(words), SESSION)
        with closing(sqlite3.connect(folder / FILE)) as con, con:
            rows = con.execute("SELECT rowid, tag FROM Cache ORDER BY rowid").fetchall()
            con.execute("UPDATE Cache SET mode = 4, value = ? WHERE rowid = ?", (planted, rows[1][0]))
            add = "INSERT INTO Cache (key, raw, tag, mode, filename, value) VALUES (?, ?, ?, ?, ?, ?)"
            start = prefix("", "talk")
            con.execute(add, (start + b"\0\0\0\7", 0, planted, 4, None, planted))
            con.execute(add, (planted, 0, planted, 4, None, planted))
            (folder / "planted.val").write_bytes(planted)
            con.execute(add, (start + b"\0\0\0\2\0", 1, rows[0][1], 4, "planted.val", None))
            con.execute("INSERT OR REPLACE INTO Settings VALUES ('disk_pickle_protocol', ?)", (planted,))
        async with serving(settings) as gateway:
            answer = await gateway.ask(asks("fourth"), SESSION)
            assert answer.status == 200
            assert heard(box)[-1] == "fourth"
            for path in ("", "/talk", "/talk/export"):
                await gateway.get(f"/v1/sessions{path}")
            await gateway.ask(None, path="/admin/sessions/compact")
            await gateway.ask(None, path="/v1/sessions/talk", method="DELETE")
            assert any("damaged" in said for said in logged(gateway))
    assert not witness.exists()


async def test_a_redis_that_is_not_there_yet(redis_server: RedisServer) -> None:
    redis_server.stop()
    url = redis_server.url.replace("redis://", "redis://:secret@")
    async with upstream(says("One.")) as box, serving(config(box, store="redis", url=url)) as gateway:
        await is_answered(gateway)
        await keeps_what_has_no_name(gateway, box)
        (said,) = logged(gateway)
        assert f"127.0.0.1:{redis_server.port}" in said
        assert "secret" not in said
        await asyncio.to_thread(redis_server.start, "--requirepass", "secret")
        for words in ("first", "second"):
            answer = await gateway.ask(asks(words), SESSION)
            assert (answer.status, answer.header("x-moltbot-dropped")) == (200, None)
        assert heard(box)[:2] == ["second", "One."]
        assert heard(box)[-3:] == ["first", "One.", "second"]


@pytest.mark.parametrize("stream", [pytest.param(False, marks=pytest.mark.thorough), True])
async def test_a_redis_that_dies_in_the_midst_of_a_reply_and_comes_back(
    stream: bool, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "LEASE_S", 0.5)  # nobody gives it up while the server is dead
    kept = "--appendonly", "yes", "--appendfsync", "always"
    redis_server.stop()
    redis_server.start(*kept)
    reply = streams([delta("One."), FINISH, DONE]) if stream else says("One.")
    scripts = says("Zero."), dies(redis_server, reply), says("Two.")
    async with (
        upstream(*scripts) as box,
        serving(config(box, store="redis", url=redis_server.url, unreadable="refuse")) as gateway,
    ):
        await gateway.ask(asks("before"), SESSION)
        answer = await gateway.ask(asks("first", stream=stream), SESSION)
        assert answer.status == 200
        assert b"One." in answer.body
        assert not stream or answer.data[-1] == b"[DONE]"
        await is_refused(gateway, GONE)
        (said,) = logged(gateway)
        assert "is not kept" in said
        await asyncio.to_thread(redis_server.start, *kept)
        assert (await gateway.ask(asks("second"), SESSION)).status == 200
        assert heard(box) == ["before", "Zero.", "first", "One.", "second"]


def dies(server: RedisServer, reply: Script) -> Script:
    async def script(visit: Visit) -> None:
        server.stop()
        await reply(visit)

    return script
