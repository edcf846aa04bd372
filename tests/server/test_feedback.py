"""A thumb for a reply, and what else shows how good it was: on real sockets, told by what the metrics count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway, serving
from raw_caller import Answer
from scripted_upstream import DONE, Script, answers, completion, delta, says, streams, upstream

from moltbot_edge.config.schema import Alias, Config, Key, Model, Router
from moltbot_edge.gateway.keeping import read

pytestmark = pytest.mark.anyio

FEEDBACK = "/v1/feedback"


def question(text: str = "hello", **body: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **body}


def key(name: str) -> Key:
    return Key(name=name, hash=f"sha256:{hashlib.sha256(name.encode()).hexdigest()}")


def holds(name: str) -> str:
    return f"x-api-key: {name}"


@asynccontextmanager
async def learning(
    *scripts: Script, secret: str | None = None, explore: float = 0.0, **fields: Any
) -> AsyncIterator[Gateway]:
    """The alias ``auto`` of two models; *scripts* are of the strong one, which is the default."""
    options = {"learn": True, "explore": explore}
    async with upstream(says("weak")) as weak, upstream(*scripts) as strong:
        settings = Config(
            model_registry=[Model(name="weak", endpoint=weak.url), Model(name="strong", endpoint=strong.url)],
            aliases={"auto": Alias(models=["weak", "strong"], policy="complexity", options=options)},
            **fields,
        )
        async with serving(settings, secret=secret) as gateway:
            yield gateway


async def signs(gateway: Gateway) -> dict[str, float]:
    metrics = await gateway.metrics()
    return {name[2]: value for name, value in metrics.items() if name[:2] == ("moltbot_lessons_total", "auto")}


async def thumb(gateway: Gateway, name: str | None, good: Any = True, *headers: str) -> Answer:
    return await gateway.ask({"id": name, "good": good}, *headers, path=FEEDBACK)


async def test_a_thumb_is_counted_once_and_the_last_one_counts() -> None:
    async with learning(says()) as gateway:
        answer = await gateway.ask(question())
        name = answer.header("x-moltbot-exchange")
        assert name is not None
        assert answer.header("x-moltbot-reason") == "too little is known of 'chat short'"
        told = await thumb(gateway, name)
        assert (told.status, told.json) == (200, {"id": name, "good": True})
        await thumb(gateway, name)
        assert await signs(gateway) == {"thumb-up": 1}
        await thumb(gateway, name, False)
        assert await signs(gateway) == {"thumb-up": 1, "thumb-taken-back": 1, "thumb-down": 1}


async def test_the_replys_own_id_names_it_too_whole_and_streamed() -> None:
    named = json.dumps(json.loads(completion("hi")) | {"id": "chatcmpl-77"})
    piece = delta("hi").replace(b"chatcmpl-1", b"chatcmpl-78")
    async with learning(answers(200, named), streams([piece, DONE])) as gateway:
        await gateway.ask(question())
        assert (await thumb(gateway, "chatcmpl-77")).status == 200
        await gateway.ask(question("bye", stream=True))
        assert (await thumb(gateway, "chatcmpl-78", False)).status == 200
        assert await signs(gateway) == {"thumb-up": 1, "thumb-down": 1}


async def test_what_was_learned_decides() -> None:
    """Against the default: the weak one is praised and the strong one is not."""
    async with learning(says("strong"), explore=1.0) as gateway:
        for _ in range(60):
            answer = await gateway.ask(question())
            await thumb(gateway, answer.header("x-moltbot-exchange"), b"weak" in answer.body)
        answer = await gateway.ask(question())
        assert answer.header("x-moltbot-deployment") == "weak"
        assert (answer.header("x-moltbot-reason") or "").startswith("'chat short': weak ")


async def test_only_the_key_that_asked_may_tell() -> None:
    async with learning(says(), secret="kitchen", keys=[key("kitchen"), key("hall")]) as gateway:
        answer = await gateway.ask(question(), holds("kitchen"))
        name = answer.header("x-moltbot-exchange")
        for headers, status in (
            ((), 401),
            ((holds("nobody"),), 401),
            ((holds("hall"),), 404),
            ((holds("kitchen"),), 200),
        ):
            assert (await thumb(gateway, name, True, *headers)).status == status
        assert (await thumb(gateway, answer.json["id"], True, holds("hall"))).status == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"id": "ex-0", "good": True}, 404, "exchange_not_found"),
        ({"id": "ex-0"}, 400, None),
        ({"id": "ex-0", "good": "yes"}, 400, None),
        (b"good!", 400, None),
        (b"", 400, None),
        ({"id": "x" * 5000, "good": True}, 413, "body_too_large"),
    ],
)
async def test_what_cannot_be_counted_is_told(body: Any, status: int, code: str | None) -> None:
    async with learning(says()) as gateway:
        answer = await gateway.ask(body, path=FEEDBACK)
        assert (answer.status, answer.error["code"]) == (status, code)
        assert answer.error["message"]


async def test_it_takes_post() -> None:
    async with learning(says()) as gateway:
        answer = await gateway.get(FEEDBACK)
        assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")


async def test_a_policy_that_learns_nothing_has_nothing_to_name() -> None:
    async with upstream(says()) as one, upstream(says()) as two:
        settings = Config(
            model_registry=[Model(name="a", endpoint=one.url), Model(name="b", endpoint=two.url)],
            aliases={"auto": Alias(models=["a", "b"], policy="complexity")},
        )
        async with serving(settings) as gateway:
            answer = await gateway.ask(question())
            assert answer.header("x-moltbot-reason") == "score 0.00"
            assert answer.header("x-moltbot-exchange") is None
            assert (await thumb(gateway, answer.json["id"])).status == 404


async def test_only_so_many_exchanges_are_remembered() -> None:
    async with learning(says(), router=Router(recent_exchanges=2)) as gateway:
        names = [(await gateway.ask(question(str(number)))).header("x-moltbot-exchange") for number in range(3)]
        assert [(await thumb(gateway, name)).status for name in names] == [404, 200, 200]


# What nobody says with a thumb.


async def test_a_conversation_that_goes_on_is_a_good_sign() -> None:
    async with learning(says()) as gateway:
        await gateway.ask(question("first"))
        messages = [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "hi"},
            {"role": "user", "content": "second"},
        ]
        await gateway.ask(question(messages=messages))
        assert await signs(gateway) == {"goes-on": 1}


def replies(message: dict[str, Any], finish: str = "stop") -> Script:
    return answers(200, json.dumps({"id": "x", "choices": [{"message": message, "finish_reason": finish}]}))


@pytest.mark.parametrize(
    ("script", "sign"),
    [
        (replies({"content": ""}), "empty"),
        (replies({"content": "and"}, "length"), "cut-off"),
        (replies({"tool_calls": [{"function": {"name": "f", "arguments": "{a"}}]}), "broken-tool-call"),
        (answers(400, '{"error": {"message": "too long"}}'), "refused"),
        (streams([delta(""), DONE]), "empty"),
    ],
)
async def test_a_reply_that_is_none_is_a_bad_sign(script: Script, sign: str) -> None:
    async with learning(script) as gateway:
        await gateway.ask(question(stream=True))
        assert await signs(gateway) == {sign: 1}


async def test_a_machine_that_is_off_says_nothing_of_the_model() -> None:
    async with learning(answers(503, "{}"), answers(429, "{}")) as gateway:
        for _ in range(2):
            assert b"weak" in (await gateway.ask(question())).body
        assert await signs(gateway) == {}


# Kept over a restart.


async def test_what_was_learned_is_there_after_a_restart(tmp_path: Path) -> None:
    router = Router(experience=str(tmp_path / "var" / "learned.json"))
    async with learning(says(), router=router) as gateway:
        answer = await gateway.ask(question("keep this to yourself"))
        await thumb(gateway, answer.header("x-moltbot-exchange"))
    (own, overall) = read(Path(router.experience or ""))
    assert (own.alias, own.model, own.cohort, own.good, own.bad) == ("auto", "strong", "chat short", 1.0, 0.0)
    assert (overall.cohort, overall.good) == ("", 1.0)
    assert "yourself" not in (tmp_path / "var" / "learned.json").read_text()
    async with learning(says(), router=router) as gateway:
        answer = await gateway.ask(question())
        await thumb(gateway, answer.header("x-moltbot-exchange"))
    assert read(Path(router.experience or ""))[0].good == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"version": 9, "tallies": []}',
        b"\xff",
        b'{"version": 1, "tallies": [["auto", "strong", "", -5.0, 1.0, 0.0]]}',
    ],
)
async def test_a_file_that_is_not_ours_costs_only_what_was_learned(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "learned.json").write_bytes(content)
    async with learning(says(), router=Router(experience=str(tmp_path / "learned.json"))) as gateway:
        assert (await gateway.ask(question())).status == 200
    assert (tmp_path / "learned.json").read_bytes() == content, "nothing was learned, so nothing is written"
