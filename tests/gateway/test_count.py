"""Tokens of a request are counted by whoever can: the upstream itself, or an estimate that says that it is one."""

from __future__ import annotations

import asyncio
import json

import pytest
from harness import config, serving
from msgspec.structs import replace
from scripted_upstream import Upstream, Visit, answers, says, upstream

from moltbot_edge.config.schema import Config, Model

pytestmark = pytest.mark.anyio

COUNT = "/v1/messages/count_tokens"
QUESTION = {"model": "chat", "system": "Be short.", "messages": [{"role": "user", "content": "hello"}]}


def of_anthropic(box: Upstream) -> Config:
    return replace(config(), model_registry=[Model(name="chat", endpoint=box.url, type="anthropic-messages")])


async def test_an_upstream_that_counts_is_asked_for_the_chat_as_it_would_get_it() -> None:
    async with upstream(answers(200, b'{"input_tokens": 18, "object": "response.input_tokens"}')) as box:
        async with serving(config(box)) as gateway:
            answer = await gateway.ask(QUESTION, path=COUNT)
        assert (answer.status, answer.json) == (200, {"input_tokens": 18})
        assert answer.header("x-moltbot-estimated") is None
        (asked,) = box.asked
        assert asked.path == "/v1/chat/completions/input_tokens"
        assert json.loads(asked.body)["messages"] == [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "hello"},
        ]


@pytest.mark.parametrize("script", [answers(404, b"{}"), says("an answer to something else")])
async def test_one_that_does_not_is_asked_once_and_then_it_is_estimated(script: object) -> None:
    async with upstream(script) as box:  # type: ignore[arg-type]
        async with serving(config(box)) as gateway:
            for _ in range(2):
                answer = await gateway.ask(QUESTION, path=COUNT)
                assert answer.json["input_tokens"] > 0
                assert answer.header("x-moltbot-estimated") == "input_tokens"
        assert len(box.asked) == 1


async def test_what_is_only_busy_is_asked_again() -> None:
    scripts = answers(503, b"{}"), answers(200, b'{"input_tokens": 18}')
    async with upstream(*scripts) as box, serving(config(box)) as gateway:
        assert (await gateway.ask(QUESTION, path=COUNT)).header("x-moltbot-estimated") == "input_tokens"
        assert (await gateway.ask(QUESTION, path=COUNT)).json == {"input_tokens": 18}


async def test_anthropics_own_count_passes() -> None:
    async with upstream(answers(200, b'{"input_tokens": 21}')) as box:
        async with serving(of_anthropic(box)) as gateway:
            assert (await gateway.ask(QUESTION, path=COUNT)).json == {"input_tokens": 21}
        assert box.asked[0].path == "/v1/messages/count_tokens"
        assert box.asked[0].header("anthropic-version") == "2023-06-01"


async def test_what_could_not_be_asked_cannot_be_counted() -> None:
    async with upstream(says()) as box:
        async with serving(config(box)) as gateway:
            answer = await gateway.ask(QUESTION | {"messages": [{"role": "user"}]}, path=COUNT)
        assert (answer.status, answer.json["type"]) == (400, "error")
        assert answer.error["type"] == "invalid_request_error"
        assert "messages[0].content" in answer.error["message"]
        assert not box.asked


async def test_a_caller_of_the_responses_is_told_in_their_words() -> None:
    asked = {"model": "chat", "instructions": "Be short.", "input": "hello"}
    async with upstream(answers(200, b'{"input_tokens": 18}')) as box, serving(config(box)) as gateway:
        answer = await gateway.ask(asked, path="/v1/responses/input_tokens")
    assert answer.json == {"object": "response.input_tokens", "input_tokens": 18}
    assert [message["role"] for message in json.loads(box.asked[0].body)["messages"]] == ["system", "user"]


async def test_of_a_session_all_is_counted_and_nothing_kept() -> None:
    counted = answers(200, b'{"input_tokens": 18}')
    async with upstream(says("a house"), counted) as box, serving(config(box)) as gateway:
        await gateway.ask({**QUESTION, "max_tokens": 9, "session": "talk"}, path="/v1/messages")
        messages = [{"role": "user", "content": "and two?"}]
        answer = await gateway.ask({"model": "chat", "messages": messages, "session": "talk"}, path=COUNT)
        assert (answer.status, answer.json) == (200, {"input_tokens": 18})
        said = [one["content"] for one in json.loads(box.asked[-1].body)["messages"]]
        assert said == ["Be short.", "hello", "a house", "and two?"]
        assert len((await gateway.get("/v1/sessions/talk")).json["turns"]) == 1


async def test_who_counts_gives_the_place_back_that_it_waited_for() -> None:
    go = asyncio.Event()

    async def later(visit: Visit) -> None:
        await go.wait()
        await says("hi")(visit)

    counted = answers(200, b'{"input_tokens": 18}')
    async with upstream(later, counted, says("again")) as box, serving(config(box, connections=1)) as gateway:
        waits = "moltbot_upstream_waiting", f"127.0.0.1:{box.port}"
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(gateway.ask({**QUESTION, "max_tokens": 9}, path="/v1/messages"))
            await box.was_asked()
            count = tasks.create_task(gateway.ask(QUESTION, path=COUNT))
            await gateway.until(lambda metrics: metrics[waits] == 1)
            go.set()
        assert first.result().status == 200
        assert count.result().json == {"input_tokens": 18}
        assert (await gateway.ask({**QUESTION, "max_tokens": 9}, path="/v1/messages")).status == 200
