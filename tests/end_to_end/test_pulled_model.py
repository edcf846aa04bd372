"""A real model that is pulled into a gateway without any, and answers: no restart, no configuration."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from harness import serving
from model_hub import REPOSITORY, hub

from moltbot_edge.config.schema import Config, Engines

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]
QUESTION = "What is the capital of France? Answer in one sentence."


@pytest.fixture
def weights(chat_model: Path) -> bytes:
    return chat_model.read_bytes()


async def test_a_pulled_model_answers(tmp_path: Path, llama_server: Path, weights: bytes) -> None:
    engines = Engines(command=str(llama_server), args=["-t", "1", "--poll", "0"], context_tokens=512)
    with hub(files={"SmolLM2-135M-Instruct-Q4_1.gguf": weights}) as there:
        environment = {"PATH": os.defpath, "HF_ENDPOINT": there.url}
        async with serving(
            Config(engines=engines), environment=environment, stores=[tmp_path], within_s=180
        ) as gateway:
            answer = await gateway.ask({"source": f"{REPOSITORY}:Q4_1"}, path="/admin/models/pull")
            pulled = json.loads(answer.body.splitlines()[-1])
            assert (pulled["event"], pulled["model"]) == ("pulled", "smollm2-135m-instruct-q4_1")
            said = {"model": pulled["model"], "messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
            reply = await gateway.ask({**said, "max_tokens": 16})
            assert "Paris" in reply.json["choices"][0]["message"]["content"]
            (shown,) = (await gateway.get("/admin/models")).json["models"]
            assert (shown["state"], shown["context_tokens"], shown["fit"]) == ("ready", 512, "fits")
            assert shown["longest_context_tokens"] == 8192
