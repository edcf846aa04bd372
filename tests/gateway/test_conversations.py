"""A conversation that the gateway keeps: its caller sends only what is new. On real sockets, with a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from harness import serving
from raw_caller import Answer
from scripted_upstream import DONE, Upstream, Visit, delta, hangs, says, streams, upstream

from moltbot_edge.config.schema import Config, Key, Limits, Model, Router, Sessions
from moltbot_edge.upstream.ticker import TICK_S

pytestmark = pytest.mark.anyio

SESSION = "x-moltbot-session: talk"
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def kept(folder: Path, *boxes: Upstream, kinds: tuple[str, ...] = (), keys: tuple[Key, ...] = (), **of: Any) -> Config:
    kinds = kinds or ("openai-chat",) * len(boxes)
    return Config(
        model_registry=[
            Model(name="chat", endpoint=box.url, type=kind) for box, kind in zip(boxes, kinds, strict=True)
        ],
        router=Router(policy="priority"),
        sessions=Sessions(path=str(folder), **of),
        keys=list(keys),
    )


def asks(words: str, **more: Any) -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": words}], **more}


def heard(box: Upstream, place: int = -1) -> list[tuple[str, str]]:
    """What an upstream was told."""
    return [(one["role"], one["content"]) for one in json.loads(box.asked[place].body)["messages"]]


def text_of(answer: Answer) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for data in answer.data
        if data != b"[DONE]"
        for choice in json.loads(data)["choices"]
    )


async def test_a_caller_sends_only_what_is_new(tmp_path: Path) -> None:
    pieces = [delta("a big"), delta(" house"), FINISH, DONE]
    async with upstream(says("a house"), streams(pieces), says("?")) as box, serving(kept(tmp_path, box)) as gateway:
        first = await gateway.ask(asks("what is a casa?"), SESSION)
        second = await gateway.ask(asks("and a casona?", stream=True), SESSION)
        third = await gateway.ask(asks("thanks", session="talk"))
    assert first.header("x-moltbot-session") == second.header("x-moltbot-session") == "talk"
    assert text_of(second) == "a big house"
    assert third.status == 200
    assert heard(box) == [
        ("user", "what is a casa?"),
        ("assistant", "a house"),
        ("user", "and a casona?"),
        ("assistant", "a big house"),
        ("user", "thanks"),
    ]


async def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with upstream(says("a house")) as box:
        for words in ("what is a casa?", "and two?"):
            async with serving(kept(tmp_path, box)) as gateway:
                assert (await gateway.ask(asks(words), SESSION)).status == 200
    assert [said for _, said in heard(box)] == ["what is a casa?", "a house", "and two?"]


async def test_who_sends_the_whole_history_is_not_doubled(tmp_path: Path) -> None:
    async with upstream(says("a house")) as box, serving(kept(tmp_path, box)) as gateway:
        await gateway.ask(asks("what is a casa?"), SESSION)
        history = [
            {"role": "user", "content": "what is a casa?"},
            {"role": "assistant", "content": "a house"},
            {"role": "user", "content": "and two?"},
        ]
        await gateway.ask({"model": "chat", "messages": history}, SESSION)
    assert [said for _, said in heard(box)] == ["what is a casa?", "a house", "and two?"]


async def test_where_there_was_a_picture_a_model_with_eyes_goes_on(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    async with upstream(says("blind")) as blind, upstream(says("a house")) as seeing:
        settings = Config(
            model_registry=[
                Model(name="chat", endpoint=blind.url, type="openai-chat", images=False),
                Model(name="chat", endpoint=seeing.url, type="openai-chat"),
                Model(name="blind", endpoint=blind.url, type="openai-chat", images=False),
            ],
            router=Router(policy="priority"),
            sessions=Sessions(path=str(tmp_path)),
        )
        async with serving(settings) as gateway:
            shown = await gateway.ask({"model": "chat", "messages": [{"role": "user", "content": [picture]}]}, SESSION)
            asked = await gateway.ask(asks("how many windows?"), SESSION)
            refused = await gateway.ask({**asks("and doors?"), "model": "blind"}, SESSION)
    assert [one.json["choices"][0]["message"]["content"] for one in (shown, asked)] == ["a house"] * 2
    assert not blind.asked
    assert refused.status == 400


async def test_without_a_session_nothing_is_kept_and_no_store_is_opened(tmp_path: Path) -> None:
    async with upstream(says("hi")) as box, serving(kept(tmp_path / "none", box)) as gateway:
        answer = await gateway.ask(asks("hello"))
    assert answer.header("x-moltbot-session") is None
    assert not (tmp_path / "none").exists()


async def test_the_second_at_once_waits_its_turn(tmp_path: Path) -> None:
    async with upstream(says("one"), says("two")) as box, serving(kept(tmp_path, box)) as gateway:
        await asyncio.gather(*(gateway.ask(asks(words), SESSION) for words in ("a", "b")))
    assert [said for _, said in heard(box)] in (["a", "one", "b"], ["b", "one", "a"])


async def test_or_is_refused(tmp_path: Path) -> None:
    async with (
        upstream(hangs(), says("two")) as box,
        serving(kept(tmp_path, box, busy="refuse")) as gateway,
        asyncio.TaskGroup() as tasks,
    ):
        first = tasks.create_task(gateway.ask(asks("a"), SESSION))
        await box.was_asked()
        second = await gateway.ask(asks("b"), SESSION)
        first.cancel()
    assert second.status == 409
    assert second.json["error"]["code"] == "session_busy"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("", "found ''"),
        ("..", "'..' is no name"),
        ("two words", "without a space"),
        ("x" * 129, "found 129 of them"),
        ("t\u00e4lk", "signs of ASCII without a space, found 't\u00e4lk'"),
    ],
)
async def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str, found: str) -> None:
    async with upstream(says("hi")) as box, serving(kept(tmp_path, box)) as gateway:
        answer = await gateway.ask(asks("hello", session=name))
    assert answer.status == 400
    assert answer.json["error"]["param"] == "session"
    assert found in answer.json["error"]["message"]


async def test_a_stream_that_pings_began_says_where_it_is_kept(tmp_path: Path) -> None:
    async def late(visit: Visit) -> None:
        await asyncio.sleep(4 * TICK_S)
        await streams([delta("late"), FINISH, DONE])(visit)

    async with upstream(late) as box:
        settings = msgspec.structs.replace(kept(tmp_path, box), limits=Limits(ping_after_s=TICK_S))
        async with serving(settings) as gateway:
            answer = await gateway.ask(asks("a", stream=True), SESSION)
            (turn,) = (await gateway.get("/v1/sessions/talk")).json["turns"]
    assert answer.body.startswith(b": ping")
    assert answer.header("x-moltbot-session") == "talk"
    assert answer.header("x-moltbot-turn") == turn["id"]


SYSTEM: dict[str, tuple[str, str, Callable[[str], dict[str, str]] | None]] = {
    "openai-chat": ("/v1/chat/completions", "messages", lambda text: {"role": "developer", "content": text}),
    "openai-responses": ("/v1/responses", "input", lambda text: {"role": "developer", "content": text}),
    "anthropic-messages": ("/v1/messages", "messages", None),
    "ollama": ("/api/chat", "messages", lambda text: {"role": "system", "content": text}),
}


@pytest.mark.parametrize("whole", [True, False], ids=["its whole history", "what is new"])
@pytest.mark.parametrize("second", SYSTEM)
@pytest.mark.parametrize("first", SYSTEM)
async def test_a_system_text_with_a_clock_in_it_is_the_last_one(
    tmp_path: Path, first: str, second: str, whole: bool
) -> None:
    said: list[dict[str, str]] = []
    async with upstream(says("a1"), says("a2"), says("a3")) as box, serving(kept(tmp_path, box)) as gateway:
        for number, dialect in enumerate((first, second, first), 1):
            path, field, as_message = SYSTEM[dialect]
            said.append({"role": "user", "content": f"q{number}"})
            clock = f"It is {number} o'clock."
            opening = [] if as_message is None else [as_message(clock)]
            more = {"system": clock, "max_tokens": 9} if as_message is None else {}
            body = {"model": "chat", field: [*opening, *(said if whole else said[-1:])], "stream": False, **more}
            assert (await gateway.ask(body, SESSION, path=path)).status == 200
            said.append({"role": "assistant", "content": f"a{number}"})
        turns = (await gateway.get("/v1/sessions/talk")).json["turns"]
    assert heard(box) == [("system", "It is 3 o'clock."), *((one["role"], one["content"]) for one in said[:-1])]
    assert [len(turn["messages"]) for turn in turns] == [1, 1, 1]
