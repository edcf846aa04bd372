"""What there is, in OpenAI's shape."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from harness import serving
from openai import AsyncOpenAI, NotFoundError

from moltbot_edge.config.schema import Alias, Config, Model

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
