"""What Ollama's programs ask before they chat: what runs here, what there is, what it can do."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from gguf_file import gguf
from harness import serving

from moltbot_edge.config.schema import Alias, Config, Engines, Key, Model
from moltbot_edge.server.ollama import INSTEAD

pytestmark = pytest.mark.anyio

SECRET = "kitchen-secret"
REMOTE = Model(
    name="chat", endpoint="http://127.0.0.1:9", model="qwen3-4b-Q4_K_M", context_tokens=8192, images=True, tools=True
)


def one_engine(folder: Path) -> Config:
    file = folder / "tiny-135M-Q4_0.gguf"
    file.write_bytes(gguf({"general.architecture": "llama", "llama.context_length": 2048}))
    small = Model(name="small", file=str(file))
    return Config(model_registry=[REMOTE, small], aliases={"gpt-4o-mini": Alias(models=["chat"])}, engines=Engines())


async def test_it_says_that_it_runs(tmp_path: Path) -> None:
    async with serving(one_engine(tmp_path)) as gateway:
        answer = await gateway.get("/")
        assert (answer.status, answer.body) == (200, b"Ollama is running")
        async with gateway.caller() as client:
            head = await client.ask(None, path="/", method="HEAD")
            assert (head.status, head.body) == (200, b"")
        version = json.loads((await gateway.get("/api/version")).body)["version"]
        assert tuple(map(int, version.split("."))) >= (0, 6, 4)


async def test_every_alias_is_listed_as_callers_name_it(tmp_path: Path) -> None:
    async with serving(one_engine(tmp_path)) as gateway:
        models = json.loads((await gateway.get("/api/tags")).body)["models"]
        assert [model["name"] for model in models] == ["chat", "small", "gpt-4o-mini", "auto"]
        recorded = json.loads((Path(__file__).parent.parent / "recordings" / "ollama" / "tags.json").read_bytes())
        for model in models:
            assert set(model) == set(recorded["models"][0])
            assert set(model["details"]) == set(recorded["models"][0]["details"])
            assert len(model["digest"]) == 64
        small = models[1]
        assert small["size"] > 0
        assert small["details"]["format"] == "gguf"
        assert small["details"]["parameter_size"] == "135M"
        assert small["details"]["quantization_level"] == "Q4_0"
        assert json.loads((await gateway.get("/api/ps")).body) == {"models": []}


@pytest.mark.parametrize("field", ["model", "name"])
@pytest.mark.parametrize("name", ["chat", "chat:latest"])
async def test_what_a_model_can_do_is_shown(tmp_path: Path, field: str, name: str) -> None:
    async with serving(one_engine(tmp_path)) as gateway:
        shown = json.loads((await gateway.ask({field: name}, path="/api/show")).body)
        assert shown["capabilities"] == ["completion", "tools", "vision"]
        architecture = shown["model_info"]["general.architecture"]
        assert shown["model_info"][f"{architecture}.context_length"] == 8192
        assert shown["details"]["quantization_level"] == "Q4_K_M"


async def test_an_engines_file_tells_its_architecture_and_its_context(tmp_path: Path) -> None:
    async with serving(one_engine(tmp_path)) as gateway:
        shown = json.loads((await gateway.ask({"model": "small"}, path="/api/show")).body)
        assert shown["model_info"] == {
            "general.architecture": "llama",
            "general.basename": "small",
            "llama.context_length": 2048,
        }
        assert shown["details"]["family"] == "llama"


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/api/show", {"model": "other"}, 404, "model 'other' not found; there is: chat"),
        ("/api/show", {}, 400, "`model` is missing"),
        ("/api/show", {"model": 5}, 400, "not right"),
        ("/api/pull", {"model": "llama3"}, 400, INSTEAD),
        ("/api/nothing", {"model": "chat"}, 404, "there is nothing at /api/nothing"),
        ("/api/create", {"model": "own"}, 400, INSTEAD),
        ("/api/blobs/sha256:1", {}, 400, INSTEAD),
        ("/api/tags", {}, 405, "does not take POST"),
    ],
)
async def test_what_cannot_be_had_is_told_in_ollamas_words(
    tmp_path: Path, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    async with serving(one_engine(tmp_path)) as gateway:
        answer = await gateway.ask(body, path=path)
        assert answer.status == status
        assert said in json.loads(answer.body)["error"]


async def test_a_body_without_end_is_not_read(tmp_path: Path) -> None:
    async with serving(one_engine(tmp_path)) as gateway:
        answer = await gateway.ask({"model": "x" * 70_000}, path="/api/show")
        assert answer.status == 413


async def test_a_key_sees_its_own_models_only(tmp_path: Path) -> None:
    key = Key(name="kitchen", hash=f"sha256:{hashlib.sha256(SECRET.encode()).hexdigest()}", models=["chat"])
    settings = Config(model_registry=[REMOTE, Model(name="other", endpoint="http://127.0.0.1:9")], keys=[key])
    async with serving(settings, secret=SECRET) as gateway:
        mine = f"x-api-key: {SECRET}"
        assert [one["name"] for one in json.loads((await gateway.get("/api/tags", mine)).body)["models"]] == ["chat"]
        assert (await gateway.ask({"model": "other"}, mine, path="/api/show")).status == 404
        for path in ("/api/tags", "/api/ps"):
            answer = await gateway.get(path)
            assert answer.status == 401
            assert "no key" in json.loads(answer.body)["error"]
        assert (await gateway.get("/api/version")).status == 200
