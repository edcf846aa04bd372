"""Embeddings of an upstream whose dialect has none: asked for in the one that it speaks beside."""

from __future__ import annotations

import json

import pytest
from harness import serving
from scripted_upstream import answers, upstream

from moltbot_edge.config.schema import Config, Model

pytestmark = pytest.mark.anyio


async def test_a_caller_of_ollamas_has_the_embeddings_of_who_speaks_the_responses() -> None:
    vectors = answers(200, '{"data":[{"index":0,"embedding":[0.5,0.25]}],"usage":{"prompt_tokens":2,"total_tokens":2}}')
    async with upstream(vectors) as box:
        model = Model(name="chat", model="theirs", endpoint=box.url, type="openai-responses")
        async with serving(Config(model_registry=[model])) as gateway:
            answer = await gateway.ask({"model": "chat", "input": "a cat"}, path="/api/embed")
    assert answer.status == 200
    assert answer.json["embeddings"] == [[0.5, 0.25]]
    asked = json.loads(box.asked[0].body)
    assert (box.asked[0].path, asked["model"], asked["input"]) == ("/v1/embeddings", "theirs", ["a cat"])
