"""Ollama's ``context``: who begins with an empty one goes on by that of the reply. On real sockets, a real store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway
from kept_responses import FINISH, heard, keeping, keys_of
from raw_caller import Answer
from scripted_upstream import DONE, answers, delta, says, streams

pytestmark = pytest.mark.anyio

OLLAMAS = {"model": "m", "created_at": "2026-11-23T00:00:00Z", "response": "hi", "done": True, "context": [5, 7]}


async def generate(gateway: Gateway, prompt: str, *headers: str, **more: Any) -> Answer:
    return await gateway.ask({"model": "chat", "prompt": prompt, **more}, *headers, path="/api/generate")


def last(answer: Answer) -> dict[str, Any]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in answer.body.splitlines()]
    assert not any("context" in line for line in lines[:-1])
    return lines[-1]


async def test_a_request_goes_on_by_the_context_of_the_reply(tmp_path: Path) -> None:
    pieces = [delta("a big"), delta(" house"), FINISH, DONE]
    async with keeping(tmp_path, says("a house"), streams(pieces), says("?")) as (box, gateway):
        first = last(await generate(gateway, "casa?", context=[], system="Be brief.", stream=False))
        second = last(await generate(gateway, "casona?", context=first["context"]))
        await generate(gateway, "thanks", context=second["context"], stream=False)
        assert heard(box) == [
            ("system", "Be brief."),
            ("user", "casa?"),
            ("assistant", "a house"),
            ("user", "casona?"),
            ("assistant", "a big house"),
            ("user", "thanks"),
        ]


async def test_an_old_one_goes_on_from_there(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two"), says("three")) as (box, gateway):
        first = last(await generate(gateway, "a", context=[], stream=False))["context"]
        await generate(gateway, "b", context=first, stream=False)
        await generate(gateway, "c", context=first, stream=False)
        assert heard(box) == [("user", "a"), ("assistant", "one"), ("user", "c")]


async def test_who_does_not_ask_has_none(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two")) as (_, gateway):
        plain = await generate(gateway, "a", stream=False)
        named = await generate(gateway, "a", "x-moltbot-session: kitchen", stream=False)
    assert "context" not in last(plain)
    assert plain.header("x-moltbot-session") is None
    assert "context" in last(named)


async def test_an_ollama_s_own_goes_to_an_ollama(tmp_path: Path) -> None:
    own = answers(200, json.dumps(OLLAMAS))
    async with keeping(tmp_path, own, own, kind="ollama") as (box, gateway):
        first = await generate(gateway, "a", stream=False)
        await generate(gateway, "b", stream=False, context=last(first)["context"])
    assert last(first)["context"] == [5, 7]
    assert json.loads(box.asked[1].body)["context"] == [5, 7]


async def test_what_only_an_ollama_can_do_is_not_kept(tmp_path: Path) -> None:
    async with keeping(tmp_path, answers(200, json.dumps(OLLAMAS)), kind="ollama") as (box, gateway):
        answer = await generate(gateway, "a", raw=True, context=[], stream=False)
    assert answer.status == 200
    assert json.loads(box.asked[0].body)["raw"] is True


async def test_one_that_is_gone_or_another_s_is_said_clearly(tmp_path: Path) -> None:
    mine, theirs = "authorization: Bearer me", "authorization: Bearer you"
    async with keeping(tmp_path, says("one"), keys=keys_of("me", "you"), secret="me") as (box, gateway):
        context = last(await generate(gateway, "a", mine, context=[], stream=False))["context"]
        stolen = await generate(gateway, "b", theirs, context=context)
        broken = await generate(gateway, "b", mine, context=context[:-1])
        assert len(box.asked) == 1
    assert [stolen.status, broken.status] == [400, 400]
    assert "`context`" in stolen.json["error"]
    assert "broken" in broken.json["error"]


async def test_a_model_that_is_only_loaded_is_not_kept(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (_, gateway):
        answer = await generate(gateway, "", context=[], stream=False)
    assert last(answer)["done_reason"] == "load"
    assert answer.header("x-moltbot-session") is None
