"""What an upstream says of a request that its model cannot take, as the caller's own vendor would say it."""

from __future__ import annotations

import json

import pytest
from harness import config, serving
from raw_caller import QUESTION
from scripted_upstream import answers, says, upstream

from moltbot_edge.config.schema import Config, Model

pytestmark = pytest.mark.anyio

# llama-server's own words for both.
TOO_LONG = answers(
    400,
    '{"error":{"code":400,"type":"exceed_context_size_error",'
    '"message":"the request exceeds the available context size"}}',
)
BLIND = answers(
    500, '{"error":{"code":500,"message":"image input is not supported - hint: ...","type":"server_error"}}'
)
VENDORS = answers(
    400, '{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}'
)


async def test_a_prompt_that_is_too_long_has_the_code_by_which_programs_know_it() -> None:
    async with upstream(TOO_LONG) as box, serving(config(box)) as gateway:
        answer = await gateway.ask()
    assert answer.status == 400
    assert answer.error == {
        "message": "the request exceeds the available context size",
        "type": "invalid_request_error",
        "param": None,
        "code": "context_length_exceeded",
    }


async def test_it_has_the_words_by_which_they_know_it_where_there_is_no_code() -> None:
    async with upstream(TOO_LONG) as box, serving(config(box)) as gateway:
        answer = await gateway.ask(QUESTION | {"max_tokens": 9}, path="/v1/messages")
        told = await gateway.ask(QUESTION, path="/api/chat")
    assert answer.status == told.status == 400
    assert answer.error == {
        "type": "invalid_request_error",
        "message": "prompt is too long: the request exceeds the available context size",
    }
    assert told.error == "the request exceeds the available context size"


async def test_it_is_known_by_its_words_where_an_upstream_has_nothing_else() -> None:
    said = answers(400, '{"error":"request (2410 tokens) exceeds the available context size (1024 tokens)"}')
    async with upstream(said) as box:
        model = Model(name="chat", endpoint=box.url, type="ollama")
        async with serving(Config(model_registry=[model])) as gateway:
            answer = await gateway.ask()
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert answer.error["message"].startswith("request (2410 tokens)")


async def test_who_says_it_as_its_vendor_does_is_passed_on_as_it_said_it() -> None:
    async with upstream(VENDORS) as box, serving(config(box)) as gateway:
        answer = await gateway.ask()
    assert (answer.status, answer.error["message"]) == (400, "too long")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
async def test_a_picture_for_a_model_without_eyes_is_the_callers_mistake(path: str) -> None:
    """A 500 would be asked again by every official client, and held against the upstream."""
    async with upstream(BLIND) as box, serving(config(box, attempts=1)) as gateway:
        answer = await gateway.ask(QUESTION | {"max_tokens": 9}, path=path)
        metrics = await gateway.metrics()
    assert answer.status == 400
    assert "takes no images" in json.dumps(answer.error)
    assert not any(value for name, value in metrics.items() if name[0] == "moltbot_ejections_total")


async def test_another_deployment_may_have_eyes() -> None:
    async with upstream(BLIND) as blind, upstream(says("a cat")) as seeing, serving(config(blind, seeing)) as gateway:
        for _ in range(2):
            assert (await gateway.ask()).status == 200
