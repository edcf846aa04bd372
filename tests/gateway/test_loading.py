"""A caller in Ollama's dialect who asks nothing wants the model in memory, or gone: the upstream gets no question."""

from __future__ import annotations

import json

import pytest
from harness import config, serving
from scripted_upstream import says, upstream

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("path", "fields", "reason"),
    [
        ("/api/chat", {}, "load"),
        ("/api/chat", {"messages": [], "stream": False}, "load"),
        ("/api/generate", {"keep_alive": 0}, "unload"),
        ("/api/generate", {"prompt": "", "stream": False, "keep_alive": "10m"}, "load"),
    ],
)
async def test_nothing_is_asked_of_an_upstream_of_another_dialect(
    path: str, fields: dict[str, object], reason: str
) -> None:
    async with upstream(says("hi")) as box, serving(config(box)) as gateway:
        answer = await gateway.ask({"model": "chat"} | fields, path=path)
        assert answer.status == 200
        assert json.loads(answer.body)["done_reason"] == reason
        assert json.loads(answer.body)["done"] is True
        assert box.asked == []


@pytest.mark.parametrize(
    ("path", "fields", "vectors"),
    [
        ("/api/embed", {}, {"embeddings": []}),
        ("/api/embed", {"input": ""}, {"embeddings": [[]]}),
        ("/api/embeddings", {"prompt": ""}, {"embedding": []}),
    ],
)
async def test_without_a_text_there_is_no_vector(
    path: str, fields: dict[str, object], vectors: dict[str, object]
) -> None:
    async with upstream(says("hi")) as box, serving(config(box)) as gateway:
        answer = await gateway.ask({"model": "chat"} | fields, path=path)
        assert answer.status == 200
        assert vectors.items() <= json.loads(answer.body).items()
        assert box.asked == []


async def test_a_model_that_is_not_there_is_told_in_ollamas_words() -> None:
    async with upstream(says("hi")) as box, serving(config(box)) as gateway:
        answer = await gateway.ask({"model": "other"}, path="/api/chat")
        assert answer.status == 404
        assert "'other'" in json.loads(answer.body)["error"]


async def test_a_name_with_the_tag_latest_is_the_name_without() -> None:
    async with upstream(says("hi")) as box, serving(config(box)) as gateway:
        messages = [{"role": "user", "content": "hello"}]
        answer = await gateway.ask({"model": "chat:latest", "messages": messages, "stream": False}, path="/api/chat")
        assert json.loads(answer.body)["message"] == {"role": "assistant", "content": "hi"}
        assert json.loads(box.asked[0].body)["model"] == "chat"
