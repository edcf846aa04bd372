"""What is asked for in a model's place: by the configuration, by the caller, and where a prompt is too long."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from harness import Gateway, serving
from raw_caller import Answer
from scripted_upstream import Script, answers, delta, raw, refusing, says, upstream

from moltbot_edge.config.schema import Config, Key, Model, Router

pytestmark = pytest.mark.anyio

TOO_LONG = answers(400, json.dumps({"error": {"code": "context_length_exceeded", "message": "too long"}}))
FAILURES = pytest.mark.parametrize("failure", [raw(), answers(500, "{}"), answers(429, "{}")])


@asynccontextmanager
async def two(
    first: Script, router: Router | None = None, *, secret: str | None = None, narrow: int | None = None, **config: Any
) -> AsyncIterator[Gateway]:
    async with upstream(first) as small, upstream(says("large")) as large, upstream(says("third")) as third:
        models = [
            Model(name="small", endpoint=small.url, context_tokens=narrow),
            Model(name="large", endpoint=large.url),
            Model(name="cloud/*", endpoint=third.url),
        ]
        async with serving(
            Config(model_registry=models, router=router or Router(), **config), secret=secret
        ) as gateway:
            yield gateway


def ask(text: str = "hello", **body: Any) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": text}], **body}


def text(answer: Answer) -> str:
    said: str = answer.json["choices"][0]["message"]["content"]
    return said


def why(answer: Answer) -> tuple[str, str]:
    return answer.header("x-moltbot-deployment") or "", answer.header("x-moltbot-reason") or ""


@FAILURES
async def test_another_model_is_asked_for_when_one_has_failed(failure: Script) -> None:
    async with two(failure, Router(fallbacks={"small": ["cloud/x", "large"]})) as gateway:
        answer = await gateway.ask(ask())
        assert text(answer) == "third"
        assert why(answer) == ("cloud/*", "small: failed")
        counted = await gateway.metrics()
        assert counted["moltbot_fallbacks_total", "small", "cloud/*", "failed"] == 1


@FAILURES
@pytest.mark.parametrize("spelling", ["body", "router", "header"])
async def test_a_caller_says_what_to_ask_for(failure: Script, spelling: str) -> None:
    async with two(failure, Router(fallbacks={"small": ["cloud/x"]})) as gateway:
        match spelling:
            case "body":
                answer = await gateway.ask(ask(fallbacks=["large"]))
            case "router":
                answer = await gateway.ask(ask(models=["small", "large"]))
            case _:
                answer = await gateway.ask(ask(), "x-moltbot-fallbacks: large")
        assert text(answer) == "large"


async def test_what_stands_for_a_model_may_fail_as_well() -> None:
    async with two(answers(500, "{}"), Router(fallbacks={"small": ["large", "cloud/x"]})) as gateway, upstream(raw()):
        assert text(await gateway.ask(ask(fallbacks=["small", "large"]))) == "large"


async def test_a_machine_that_is_out_costs_no_caller_of_a_model_with_fallbacks_anything() -> None:
    async with upstream(says("large"), answers(500, "{}")) as large:
        with refusing() as closed:
            models = [Model(name="small", endpoint=closed), Model(name="large", endpoint=large.url)]
            router = Router(fallbacks={"small": ["large"]}, probe_s=600)
            async with serving(Config(model_registry=models, router=router)) as gateway:
                assert why(await gateway.ask(ask())) == ("large", "small: failed")
                large.play(says("large"), says("large"), answers(500, "{}"))
                answer = await gateway.ask(ask())
                assert why(answer) == ("large", "small: out")
                assert text(await gateway.ask(ask(fallbacks=["large"]))) == "large"
                dead = "moltbot_attempts_total", "small", "upstream_unreachable"
                assert (await gateway.metrics())[dead] == 1
                assert (await gateway.ask(ask())).status == 502
                counted = await gateway.metrics()
                assert counted[dead] > 1, "asked after all, where nobody else answers"
                assert counted["moltbot_fallbacks_total", "small", "large", "out"] == 3


async def test_a_machine_that_is_back_is_asked_before_its_fallbacks() -> None:
    async with upstream(raw(), says("small")) as small, upstream(says("large")) as large:
        models = [Model(name="small", endpoint=small.url), Model(name="large", endpoint=large.url)]
        router = Router(fallbacks={"small": ["large"]}, probe_s=0.1)
        async with serving(Config(model_registry=models, router=router)) as gateway:
            assert text(await gateway.ask(ask())) == "large"
            up = "moltbot_probes_total", small.url.removeprefix("http://"), "up"
            await gateway.until(lambda metrics: metrics.get(up, 0) >= 1)
            assert text(await gateway.ask(ask())) == "small"


async def test_a_prompt_too_long_for_a_model_goes_to_a_wider_one_when_the_upstream_says_so() -> None:
    async with two(
        TOO_LONG, Router(fallbacks={"small": ["cloud/x"]}, context_fallbacks={"small": ["large"]})
    ) as gateway:
        answer = await gateway.ask(ask())
        assert text(answer) == "large"
        assert why(answer) == ("large", "small: too-long")


async def test_a_prompt_known_to_be_too_long_is_not_tried_first() -> None:
    async with two(says("small"), Router(context_fallbacks={"small": ["large"]}), narrow=100) as gateway:
        assert text(await gateway.ask(ask("short"))) == "small"
        assert text(await gateway.ask(ask("long " * 400))) == "large"


async def test_without_anything_configured_the_upstreams_own_words_are_the_answer() -> None:
    async with two(TOO_LONG) as gateway:
        answer = await gateway.ask(ask())
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")


async def test_of_one_name_another_deployment_may_take_a_longer_prompt() -> None:
    async with upstream(TOO_LONG) as short, upstream(says("long")) as long:
        models = [Model(name="chat", endpoint=short.url), Model(name="chat", endpoint=long.url)]
        async with serving(Config(model_registry=models, router=Router(policy="priority"))) as gateway:
            for _ in range(3):
                assert text(await gateway.ask(ask() | {"model": "chat"})) == "long"


async def test_nothing_takes_over_in_the_middle_of_a_reply() -> None:
    broken = raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n" + delta("one"))
    async with two(broken, Router(fallbacks={"small": ["large"]})) as gateway:
        answer = await gateway.ask(ask(stream=True))
        assert b"large" not in answer.body
        assert b"upstream_truncated_reply" in answer.body


async def test_what_a_request_itself_has_wrong_is_asked_of_nobody_else() -> None:
    async with two(answers(422, '{"error": {"message": "no"}}'), Router(fallbacks={"small": ["large"]})) as gateway:
        assert (await gateway.ask(ask())).status == 422


async def test_a_name_that_there_is_not_is_told_before_it_is_needed() -> None:
    async with two(says("small")) as gateway:
        answer = await gateway.ask(ask(fallbacks=["lrage"]))
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_a_name_in_a_header_may_be_of_any_alphabet() -> None:
    async with upstream(answers(500, "{}")) as one, upstream(says("größer")) as other:
        models = [Model(name="small", endpoint=one.url), Model(name="größer", endpoint=other.url)]
        async with serving(Config(model_registry=models)) as gateway:
            assert text(await gateway.ask(ask(), "x-moltbot-fallbacks: größer")) == "größer"


async def test_a_key_falls_back_on_its_own_models_only() -> None:
    keys = [Key(name="guest", hash=f"sha256:{hashlib.sha256(b'guest').hexdigest()}", models=["small"])]
    async with two(answers(500, "{}"), keys=keys, secret="guest") as gateway:
        for refused in (
            await gateway.ask(ask(fallbacks=["large"]), "x-api-key: guest"),
            await gateway.ask(ask(), "x-api-key: guest", "x-moltbot-fallbacks: large"),
        ):
            assert (refused.status, refused.error["code"]) == (403, "model_not_allowed")


async def test_what_fits_a_pattern_is_counted_under_it() -> None:
    async with two(says("small")) as gateway:
        assert text(await gateway.ask(ask() | {"model": "cloud/gpt-9"})) == "third"
        counted = await gateway.metrics()
        assert counted["moltbot_requests_total", "openai-chat", "cloud/*", "200"] == 1
        assert not any("gpt-9" in label for name in counted for label in name)
