"""What there is, in OpenAI's shape, and in Anthropic's for its callers."""

from __future__ import annotations

import hashlib
import time
from urllib.parse import quote

import pytest
from anthropic import AsyncAnthropic
from anthropic import NotFoundError as AnthropicNotFoundError
from harness import serving
from openai import AsyncOpenAI, NotFoundError

from moltbot_edge.config.schema import Alias, Config, Key, Model

pytestmark = pytest.mark.anyio

SETTINGS = Config(
    model_registry=[
        Model(name="qwen3:4b", endpoint="http://one"),
        Model(name="qwen3:4b", endpoint="http://two"),
        Model(name="org/model", endpoint="http://one"),
    ],
    aliases={"auto": Alias(models=["qwen3:4b", "org/model"]), "Zürich 1": "org/model"},
)
NAMES = ["qwen3:4b", "org/model", "auto", "Zürich 1"]


async def test_every_alias_is_listed_once() -> None:
    async with serving(SETTINGS) as gateway:
        answer = await gateway.get("/v1/models")
        assert answer.json["object"] == "list"
        assert [model["id"] for model in answer.json["data"]] == NAMES
        for model in answer.json["data"]:
            assert model["object"] == "model"
            assert model["owned_by"] == "moltbot-edge"
            assert abs(model["created"] - time.time()) < 3600


async def test_one_is_found_by_its_name() -> None:
    async with serving(SETTINGS) as gateway:
        for name in NAMES:
            for path in (quote(name, safe=""), quote(name, safe="/:")):
                assert (await gateway.get(f"/v1/models/{path}")).json["id"] == name


async def test_an_unknown_one_is_told_with_those_there_are() -> None:
    async with serving(SETTINGS) as gateway:
        answer = await gateway.get("/v1/models/gpt-9")
        assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
        assert ", ".join(NAMES) in answer.error["message"]


async def test_the_openai_client_lists_and_finds_them() -> None:
    async with (
        serving(SETTINGS) as gateway,
        AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
    ):
        assert [model.id async for model in client.models.list()] == NAMES
        assert (await client.models.retrieve("org/model")).id == "org/model"
        with pytest.raises(NotFoundError):
            await client.models.retrieve("nowhere")


SECRET = "kitchen-secret"
VERSION = "anthropic-version: 2023-06-01"


async def test_who_says_anthropics_version_is_told_in_its_shape_a_page_at_a_time() -> None:
    async with serving(SETTINGS) as gateway:
        first = (await gateway.get("/v1/models?limit=3", VERSION)).json
        assert [model["id"] for model in first["data"]] == NAMES[:3]
        assert (first["has_more"], first["first_id"], first["last_id"]) == (True, NAMES[0], NAMES[2])
        rest = (await gateway.get(f"/v1/models?limit=3&after_id={quote(NAMES[2])}", VERSION)).json
        assert [model["id"] for model in rest["data"]] == NAMES[3:]
        assert rest["has_more"] is False
        before = (await gateway.get(f"/v1/models?limit=2&before_id={quote(NAMES[3])}", VERSION)).json
        assert [model["id"] for model in before["data"]] == NAMES[1:3]
        for model in first["data"]:
            assert model["type"] == "model"
            assert model["display_name"] == model["id"]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", "after_id=nobody", "before_id=nobody"])
async def test_a_page_that_cannot_be_is_refused_in_its_shape(query: str) -> None:
    async with serving(SETTINGS) as gateway:
        answer = await gateway.get(f"/v1/models?{query}", VERSION)
        assert answer.status == 400
        assert (answer.json["type"], answer.error["type"]) == ("error", "invalid_request_error")
        assert query.partition("=")[0] in answer.error["message"]


async def test_what_is_amiss_is_told_in_its_shape_too() -> None:
    key = Key(name="kitchen", hash="sha256:" + hashlib.sha256(SECRET.encode()).hexdigest())
    keyed = Config(model_registry=SETTINGS.model_registry, keys=[key])
    async with serving(keyed, secret=SECRET) as gateway:
        assert (await gateway.get("/v1/models", VERSION, f"x-api-key: {SECRET}")).status == 200
        answer = await gateway.get("/v1/models", VERSION)
        assert (answer.status, answer.error["type"]) == (401, "authentication_error")
        answer = await gateway.get("/v1/nothing", VERSION)
        assert (answer.status, answer.error["type"]) == (404, "not_found_error")


async def test_the_anthropic_client_lists_and_finds_them() -> None:
    async with (
        serving(SETTINGS) as gateway,
        AsyncAnthropic(base_url=gateway.url, api_key="none", max_retries=0) as client,
    ):
        assert [model.id async for model in client.models.list(limit=2)] == NAMES
        found = await client.models.retrieve("org/model")
        assert (found.id, found.type, found.lifecycle) == ("org/model", "model", "active")
        assert abs(found.created_at.timestamp() - time.time()) < 3600
        with pytest.raises(AnthropicNotFoundError):
            await client.models.retrieve("nowhere")
