"""A built file with a real engine and a real model, on this machine itself. Of the source: tests/end_to_end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from binary.place import Place
from binary.target import Target
from raw_caller import QUESTION

pytestmark = pytest.mark.anyio

ASKED = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


@pytest.mark.only("built", "native")
async def test_a_real_model_answers(target: Target, llama_server: Path, chat_model: Path, tmp_path: Path) -> None:
    place = Place(target.outdoors(), tmp_path / "place")
    config = {
        "model_store": str(tmp_path / "place"),
        "model_registry": [{"name": "chat", "file": str(chat_model), "engine_args": ["--threads", "1", "--poll", "0"]}],
        "engines": {"command": str(llama_server)},
    }
    file = place.put("/moltbot.yaml", json.dumps(config))
    with place.serving("--config", file, "--port", "0") as gateway:
        asked = {**QUESTION, "messages": ASKED, "temperature": 0, "max_tokens": 30}
        whole = await gateway.ask(asked)
        assert whole.status == 200, gateway.said()
        assert "Paris" in whole.json["choices"][0]["message"]["content"]
        streamed = await gateway.ask({**asked, "stream": True})
        events = [json.loads(event) for event in streamed.data if event != b"[DONE]"]
        said = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
        assert "".join(said).strip() == whole.json["choices"][0]["message"]["content"].strip()
        gateway.terminate()
        assert await gateway.ended() == 0
