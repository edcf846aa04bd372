"""/v1/sessions: conversations that are kept are listed, shown, forked, carried away and deleted, each by its own key.

On real sockets; what a store does by itself is in tests/stores, and the whole of a turn in tests/gateway.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from harness import Gateway, serving
from kept_sessions import RedisServer
from raw_caller import CHAT, Answer, Cut, request
from scripted_upstream import Script, Upstream, hangs, says, upstream

from moltbot_edge.config.schema import Config, Key, Limits, Model, Sessions
from moltbot_edge.core.session import Turn
from moltbot_edge.gateway.archive import ShownTurn

pytestmark = pytest.mark.anyio

SESSIONS = "/v1/sessions"
COMPACT = "/admin/sessions/compact"
KITCHEN, HALL, BOSS = (f"x-api-key: {name}" for name in ("kitchen", "hall", "boss"))


def keys() -> list[Key]:
    return [
        Key(name=name, hash=f"sha256:{hashlib.sha256(name.encode()).hexdigest()}", admin=name == "boss")
        for name in ("kitchen", "hall", "boss")
    ]


@asynccontextmanager
async def keeping(
    folder: Path, *scripts: Script, store: str = "disk", url: str = "", keyed: bool = False, **limits: Any
) -> AsyncIterator[tuple[Gateway, Upstream]]:
    async with upstream(*(scripts or (says("Yes."),))) as box:
        settings = Config(
            model_registry=[Model(name="chat", endpoint=box.url)],
            sessions=Sessions(store=store, path=str(folder / "sessions"), url=url or "redis://127.0.0.1:9/0"),
            keys=keys() if keyed else [],
            limits=Limits(**limits),
        )
        async with serving(settings, secret="boss" if keyed else None) as gateway:
            yield gateway, box


async def says_to(gateway: Gateway, session: str, *words: str, key: str | None = None) -> list[str]:
    """The ids of the turns."""
    ids = []
    for one in words:
        body = {"model": "chat", "messages": [{"role": "user", "content": one}]}
        answer = await gateway.ask(body, f"x-moltbot-session: {session}", *([key] if key else []))
        assert answer.status == 200, answer.body
        ids.append(answer.header("x-moltbot-turn") or "")
    return ids


def at(name: str, more: str = "") -> str:
    return f"{SESSIONS}/{quote(name, safe='')}{more}"


async def names(gateway: Gateway, *headers: str, more: str = "") -> list[str]:
    answer = await gateway.get(SESSIONS + more, *headers)
    assert answer.status == 200, answer.body
    return [one["session"] for one in answer.json["sessions"]]


def texts(shown: Any) -> list[str]:
    return [turn["messages"][0]["parts"][0]["text"] for turn in shown["turns"]]


async def test_sessions_are_listed_the_newest_first_page_by_page(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (gateway, _):
        assert (await gateway.get(SESSIONS)).json == {"sessions": [], "after": None}
        for name in ("one", "two", "three", "four", "five"):
            await says_to(gateway, name, "Hello")
        (leaf,) = await says_to(gateway, "two", "Hello again")
        assert await names(gateway) == ["two", "five", "four", "three", "one"]
        seen, after = [], ""
        while after is not None:
            answer = await gateway.get(f"{SESSIONS}?limit=2{after and f'&after={after}'}")
            seen.append([one["session"] for one in answer.json["sessions"]])
            after = answer.json["after"]
        assert seen[:3] == [["two", "five"], ["four", "three"], ["one"]]
        first = await gateway.get(f"{SESSIONS}?limit=1")
        (shown,) = first.json["sessions"]
        assert (shown["owner"], shown["leaf"], shown["turns"]) == ("", leaf, 2)
        assert shown["size_bytes"] > 0
        assert shown["at"] > 1.7e9


async def test_a_session_is_shown_turn_by_turn(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (gateway, _):
        tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
        body = {
            "model": "chat",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
            "tools": [tool],
        }
        first = (await gateway.ask(body, "x-moltbot-session: talk")).header("x-moltbot-turn")
        second, third = await says_to(gateway, "talk", "And?", "So?")
        answer = await gateway.get(at("talk"))
        assert (answer.status, answer.header("content-type")) == (200, "application/json")
        shown = answer.json
        assert (shown["session"], shown["owner"], shown["leaf"], shown["count"]) == ("talk", "", third, 3)
        assert [turn["id"] for turn in shown["turns"]] == [first, second, third]
        turn = shown["turns"][0]
        assert {name: turn[name] for name in ("parent", "model", "deployment", "dialect", "finish", "dropped")} == {
            "parent": None,
            "model": "chat",
            "deployment": "chat",
            "dialect": "openai-chat",
            "finish": "stop",
            "dropped": [],
        }
        assert turn["system"] == [{"role": "system", "parts": [{"type": "text", "text": "Be brief."}]}]
        assert turn["tools"] == [{"name": "look", "parameters": {"type": "object"}}]
        assert turn["messages"] == [{"role": "user", "parts": [{"type": "text", "text": "Hello"}]}]
        assert turn["reply"] == {"role": "assistant", "parts": [{"type": "text", "text": "Yes."}]}
        assert turn["usage"]["input_tokens"] >= 0
        assert shown["turns"][1]["parent"] == first
        page = (await gateway.get(at("talk", "?limit=2"))).json
        assert (texts(page), page["after"]) == (["Hello", "And?"], second)
        page = (await gateway.get(at("talk", f"?limit=2&after={second}"))).json
        assert (texts(page), page["after"]) == (["So?"], None)


async def test_a_page_of_long_turns_is_shorter(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (gateway, _):
        await says_to(gateway, "talk", *(letter * 2_500_000 for letter in "abc"))
        sizes, after = [], ""
        while after is not None:
            page = (await gateway.get(at("talk", after and f"?after={after}"))).json
            sizes.append(len(page["turns"]))
            after = page["after"]
        assert sizes == [1, 1, 1]


async def test_a_session_goes_on_from_where_it_is_forked_and_stays_as_it_was(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (gateway, box):
        _, second, third = await says_to(gateway, "talk", "One", "Two", "Three")
        forked = await gateway.ask({"at": second, "session": "fork"}, path=at("talk", "/fork"))
        assert (forked.status, forked.json) == (201, {"session": "fork", "owner": "", "leaf": second, "count": 2})
        await says_to(gateway, "fork", "Drei")
        said = [one["content"] for one in json.loads(box.asked[-1].body)["messages"]]
        assert said == ["One", "Yes.", "Two", "Yes.", "Drei"]
        assert texts((await gateway.get(at("talk"))).json) == ["One", "Two", "Three"]
        whole = await gateway.ask(b"", path=at("talk", "/fork"))
        assert (whole.status, whole.json["leaf"], whole.json["count"]) == (201, third, 3)
        assert whole.json["session"] in await names(gateway)
        for body, status, words in (
            ({"session": "fork"}, 409, "already"),
            ({"at": "01m8"}, 400, "no turn '01m8'"),
            ({"session": "a b"}, 400, "a session's name is"),
            ({"at": 3}, 400, "expected"),
            ({"turn": second}, 400, "unknown field `turn`"),
            (b"x" * 5000, 413, "larger than"),
        ):
            refused = await gateway.ask(body, path=at("talk", "/fork"))
            assert (refused.status, words in refused.error["message"]) == (status, True), refused.body
        assert (await gateway.ask({}, path=at("none", "/fork"))).status == 404


async def test_what_is_exported_is_imported_by_another_gateway(tmp_path: Path) -> None:
    async with keeping(tmp_path / "a") as (gateway, _):
        await says_to(gateway, "talk", "One", "Zwei ü " + "x" * 200_000, "Three")
        exported = await gateway.get(at("talk", "/export"))
        assert (exported.status, exported.header("content-type")) == (200, "application/jsonl")
        shown = (await gateway.get(at("talk"))).json["turns"]
        head, *lines = exported.body.splitlines()
        assert json.loads(head) == {"moltbot_session": 1, "session": "talk"}
        assert [json.loads(line)["id"] for line in lines] == [turn["id"] for turn in shown]
    async with keeping(tmp_path / "b") as (gateway, box):
        imported = await gateway.ask(exported.body, path=f"{SESSIONS}/import")
        assert (imported.status, imported.json["session"], imported.json["count"]) == (201, "talk", 3)
        assert (await gateway.get(at("talk"))).json["turns"] == shown
        again = await gateway.ask(exported.body, path=f"{SESSIONS}/import")
        assert (again.status, again.error["code"]) == (409, "session_conflict")
        named = await gateway.ask(exported.body, path=f"{SESSIONS}/import?session=copy%2Fof%20it")
        assert (named.status, named.error["param"]) == (400, "session")
        named = await gateway.ask(exported.body, path=f"{SESSIONS}/import?session=copy%2Fof")
        assert (named.status, named.json["session"]) == (201, "copy/of")
        await says_to(gateway, "talk", "Four")
        assert len(json.loads(box.asked[-1].body)["messages"]) == 7


async def test_an_import_is_bounded_and_says_what_is_wrong(tmp_path: Path) -> None:
    async with keeping(tmp_path, body_bytes=100_000) as (gateway, _):
        await says_to(gateway, "talk", "One")
        good = (await gateway.get(at("talk", "/export"))).body
        for body, status, words in (
            (b"", 400, "nothing to import"),
            (b"hello", 400, "line 1"),
            (good + b"{}\n", 400, "line 3"),
            (good + good.splitlines()[1], 400, "twice"),
            (good + b" " * 100_000, 413, "limits.body_bytes"),
        ):
            refused = await gateway.ask(body, path=f"{SESSIONS}/import?session=new")
            assert (refused.status, words in refused.error["message"]) == (status, True), refused.body
        assert await names(gateway) == ["talk"]


async def test_what_was_taken_out_of_a_session_is_neither_shown_nor_carried_away(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (gateway, _):
        body = {"model": "chat", "session": "talk", "input": "a secret"}
        id = (await gateway.ask(body, path="/v1/responses")).json["id"]
        await says_to(gateway, "talk", "and more")
        assert (await gateway.ask(None, path=f"/v1/responses/{id}", method="DELETE")).status == 200
        forked = await gateway.ask({"session": "fork"}, path=at("talk", "/fork"))
        assert forked.status == 201
        for name in ("talk", "fork"):
            for more in ("", "/export"):
                answer = await gateway.get(at(name, more))
                assert (answer.status, b"secret" in answer.body, b"and more" in answer.body) == (200, False, True)


def test_a_turn_is_shown_with_all_that_it_has() -> None:
    assert set(ShownTurn.__struct_fields__) == set(Turn.__struct_fields__)


async def test_what_is_deleted_is_gone(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (gateway, box):
        await says_to(gateway, "talk", "One")
        deleted = await gateway.ask(None, path=at("talk"), method="DELETE")
        assert (deleted.status, deleted.json) == (200, {"session": "talk", "deleted": True})
        assert await names(gateway) == []
        again = await gateway.ask(None, path=at("talk"), method="DELETE")
        assert (again.status, again.error["code"]) == (404, "session_not_found")
        await says_to(gateway, "talk", "Anew")
        assert len(json.loads(box.asked[-1].body)["messages"]) == 1


NAMES = ["a/b", "a/export", "export", "import", "50%", "%2F", "what?", "#1", "...", "a+b", "a&b=c", "talk/fork", '"{}']


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_may_hold_what_a_path_does_not(tmp_path: Path, name: str) -> None:
    async with keeping(tmp_path, store="memory") as (gateway, _):
        await says_to(gateway, name, "One")
        assert await names(gateway) == [name]
        assert (await gateway.get(at(name))).json["session"] == name
        exported = await gateway.get(at(name, "/export"))
        assert json.loads(exported.body.splitlines()[0])["session"] == name
        forked = await gateway.ask({"session": f"{name}2"}, path=at(name, "/fork"))
        assert (forked.status, forked.json["session"]) == (201, f"{name}2")
        assert (await gateway.ask(None, path=at(name), method="DELETE")).status == 200
        assert await names(gateway) == [f"{name}2"]


async def test_paths_and_methods_that_are_not_there_are_said(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (gateway, _):
        await says_to(gateway, "talk", "One")
        for method, path, allow in (
            ("PUT", SESSIONS, "GET, HEAD"),
            ("POST", at("talk"), "GET, HEAD, DELETE"),
            ("PUT", at("import"), "GET, HEAD, DELETE, POST"),
            ("GET", at("talk", "/fork"), "POST"),
            ("DELETE", at("talk", "/export"), "GET, HEAD"),
            ("GET", COMPACT, "POST"),
        ):
            answer = await gateway.ask(None, path=path, method=method)
            found = {one.strip() for one in (answer.header("allow") or "").split(",")}
            assert (answer.status, answer.error["code"], found) == (405, "method_not_allowed", set(allow.split(", ")))
        for path in (f"{SESSIONS}/", f"{SESSIONS}/a/b", f"{SESSIONS}/talk/export/", "/v1%2Fsessions/talk"):
            answer = await gateway.get(path)
            assert (answer.status, answer.error["code"]) == (404, "unknown_url")
        for path in (SESSIONS, at("talk"), at("talk", "/export")):
            whole, head = await gateway.get(path), await gateway.ask(None, path=path, method="HEAD")
            assert (head.status, head.header("content-type"), head.body) == (200, whole.header("content-type"), b"")
        for path in (f"{SESSIONS}?limit=0", at("talk", "?limit=1001"), f"{SESSIONS}?limit=x", f"{SESSIONS}?after=x"):
            answer = await gateway.get(path)
            assert (answer.status, answer.error["param"] in path) == (400, True)
        assert (await gateway.get(at("talk", "?after=01m8"))).error["param"] == "after"
        assert (await gateway.get(f"{SESSIONS}/a%20b")).error["param"] == "session"


@pytest.mark.parametrize("store", ["disk", "memory", "redis"])
async def test_a_key_has_its_own_sessions_and_learns_nothing_of_anothers(
    tmp_path: Path, redis_server: RedisServer, store: str
) -> None:
    async with keeping(tmp_path, store=store, url=redis_server.url, keyed=True) as (gateway, box):
        await says_to(gateway, "talk", "One", "Two", key=KITCHEN)
        assert await names(gateway, KITCHEN) == ["talk"]
        assert await names(gateway, HALL) == []
        exported = (await gateway.get(at("talk", "/export"), KITCHEN)).body

        async def asked(method: str, name: str, more: str, *headers: str) -> Answer:
            body: Any = {} if method == "POST" else None
            return await gateway.ask(body, *headers, path=at(name, more), method=method)

        for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/fork"), ("GET", "/export")):
            others, none = await asked(method, "talk", more, HALL), await asked(method, "tale", more, HALL)
            assert (others.status, others.error["code"]) == (404, "session_not_found")
            assert others.body.replace(b"'talk'", b"'tale'") == none.body
            assert [name for name, _ in others.headers] == [name for name, _ in none.headers]
            assert (await asked(method, "talk", more)).status == 401
        # A session of the same name is another one.
        await says_to(gateway, "talk", "Mine", key=HALL)
        assert len(json.loads(box.asked[-1].body)["messages"]) == 1
        await gateway.ask(exported, HALL, path=f"{SESSIONS}/import?session=taken")
        assert (await asked("DELETE", "talk", "", HALL)).status == 200
        assert await names(gateway, HALL) == ["taken"]
        assert texts((await asked("GET", "talk", "", KITCHEN)).json) == ["One", "Two"]


async def test_an_administrator_may_see_and_change_everybodys_and_nobody_else_may(tmp_path: Path) -> None:
    async with keeping(tmp_path, keyed=True) as (gateway, _):
        await says_to(gateway, "talk", "One", key=KITCHEN)
        await says_to(gateway, "talk", "Eins", key=HALL)
        assert await names(gateway, BOSS) == []
        everybodys = (await gateway.get(f"{SESSIONS}?owner=*", BOSS)).json["sessions"]
        assert [(one["owner"], one["session"]) for one in everybodys] == [("hall", "talk"), ("kitchen", "talk")]
        assert await names(gateway, BOSS, more="?owner=hall") == ["talk"]
        assert await names(gateway, HALL, more="?owner=hall") == ["talk"]
        shown = await gateway.get(at("talk", "?owner=hall"), BOSS)
        assert (shown.json["owner"], texts(shown.json)) == ("hall", ["Eins"])
        exported = (await gateway.get(at("talk", "/export?owner=hall"), BOSS)).body
        forked = await gateway.ask({"session": "fork"}, BOSS, path=at("talk", "/fork?owner=hall"))
        assert (forked.status, forked.json["owner"]) == (201, "hall")
        moved = await gateway.ask(exported, BOSS, path=f"{SESSIONS}/import?owner=kitchen&session=moved")
        assert (moved.status, moved.json["owner"]) == (201, "kitchen")
        deleted = await gateway.ask(None, BOSS, path=at("talk", "?owner=hall"), method="DELETE")
        assert deleted.status == 200
        assert await names(gateway, HALL) == ["fork"]
        assert await names(gateway, KITCHEN) == ["moved", "talk"]
        assert (await gateway.get(at("talk", "?owner=*"), BOSS)).error["param"] == "owner"
        assert (await gateway.ask(b"", BOSS, path=COMPACT)).status == 200
        for method, path in (
            ("GET", f"{SESSIONS}?owner=*"),
            ("GET", f"{SESSIONS}?owner=kitchen"),
            ("GET", f"{SESSIONS}?owner=nobody"),
            ("GET", f"{SESSIONS}?owner="),
            ("GET", at("talk", "?owner=kitchen")),
            ("GET", at("none", "?owner=kitchen")),
            ("DELETE", at("talk", "?owner=kitchen")),
            ("POST", f"{SESSIONS}/import?owner=kitchen"),
            ("POST", COMPACT),
        ):
            refused = await gateway.ask(b"" if method == "POST" else None, HALL, path=path, method=method)
            assert (refused.status, refused.error["code"]) == (403, "not_an_administrator"), path


async def test_without_keys_whoever_is_on_this_machine_sees_what_any_key_had(tmp_path: Path) -> None:
    async with keeping(tmp_path, keyed=True) as (gateway, _):
        await says_to(gateway, "talk", "One", key=KITCHEN)
    async with keeping(tmp_path) as (gateway, _):
        assert await names(gateway) == []
        assert await names(gateway, more="?owner=*") == ["talk"]
        assert texts((await gateway.get(at("talk", "?owner=kitchen"))).json) == ["One"]


async def test_a_session_at_work_can_be_read_and_not_changed(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("Yes."), hangs()) as (gateway, box):
        await says_to(gateway, "talk", "One")
        exported = (await gateway.get(at("talk", "/export"))).body
        async with gateway.caller() as at_work, gateway.caller() as begins:
            for caller, name in ((at_work, "talk"), (begins, "new")):
                body = {"model": "chat", "messages": [{"role": "user", "content": "Two"}]}
                await caller.send(request(body, f"x-moltbot-session: {name}", path=CHAT))
            while len(box.asked) < 3:  # noqa: ASYNC110  (the other side is a script)
                await asyncio.sleep(0.01)
            assert texts((await gateway.get(at("talk"))).json) == ["One"]
            assert (await gateway.get(at("talk", "/export"))).body == exported
            assert (await gateway.ask({"session": "fork"}, path=at("talk", "/fork"))).status == 201
            for refused in await asyncio.gather(
                gateway.ask(None, path=at("talk"), method="DELETE"),
                gateway.ask(exported, path=f"{SESSIONS}/import?session=new"),
                gateway.ask({"session": "new"}, path=at("talk", "/fork")),
            ):
                assert (refused.status, refused.error["code"]) == (409, "session_busy")
                assert refused.header("retry-after") == "1"
            at_work.leave()
            begins.leave()
            await gateway.is_empty()
        assert (await gateway.ask(None, path=at("talk"), method="DELETE")).status == 200


async def test_a_page_of_another_address_may_change_nothing(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (gateway, _):
        await says_to(gateway, "talk", "One")
        for method, path in (
            ("DELETE", at("talk")),
            ("POST", at("talk", "/fork")),
            ("POST", f"{SESSIONS}/import"),
            ("POST", COMPACT),
        ):
            body = b"" if method == "POST" else None
            refused = await gateway.ask(body, "Origin: http://elsewhere", path=path, method=method)
            assert (refused.status, "a page of http://elsewhere" in refused.error["message"]) == (400, True)
        forked = await gateway.ask(b"", "Origin: http://gateway", path=at("talk", "/fork"))
        assert forked.status == 201


async def test_what_is_free_is_given_back(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (gateway, _):
        for number in range(20):
            await says_to(gateway, f"talk-{number}", " ".join(str(number * place) for place in range(3000)))
        for number in range(20):
            assert (await gateway.ask(None, path=at(f"talk-{number}"), method="DELETE")).status == 200
        before = taken(tmp_path / "sessions")
        assert b"talk-7" in held(tmp_path / "sessions")
        assert (await gateway.ask(b"", path=COMPACT)).json["turns"] == 0
        assert taken(tmp_path / "sessions") < before
        assert b"talk-7" not in held(tmp_path / "sessions")


def held(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


def taken(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


async def test_a_store_that_is_out_of_order_is_said(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("a file where a folder should be")
    async with keeping(tmp_path) as (gateway, _):
        for method, path in (("GET", SESSIONS), ("GET", at("talk")), ("DELETE", at("talk")), ("POST", COMPACT)):
            answer = await gateway.ask(b"" if method == "POST" else None, path=path, method=method)
            assert (answer.status, answer.error["type"]) == (503, "store_error")
            assert answer.header("retry-after") == "5"
        gateway.errors.clear()


async def test_a_redis_that_is_gone_is_said_and_found_again(tmp_path: Path, redis_server: RedisServer) -> None:
    async with keeping(tmp_path, store="redis", url=redis_server.url) as (gateway, _):
        await says_to(gateway, "talk", "One")
        redis_server.stop()
        gone = await gateway.get(SESSIONS)
        assert (gone.status, gone.error["code"]) == (503, "session_store_unreachable")
        redis_server.start()
        assert await names(gateway) == []
        gateway.errors.clear()


async def test_who_takes_nothing_of_an_export_is_cut_off(tmp_path: Path) -> None:
    async with keeping(tmp_path, client_stall_s=0.2) as (gateway, _):
        await says_to(gateway, "talk", *(letter * 4_000_000 for letter in "ab"))
        async with gateway.caller(receive_buffer_bytes=4096) as slow:
            await slow.send(request(None, path=at("talk", "/export"), method="GET"))
            head = await slow.head()
            assert head.status == 200
            await gateway.is_empty()
            with pytest.raises(Cut):
                async for _ in slow.pieces(head):
                    pass
