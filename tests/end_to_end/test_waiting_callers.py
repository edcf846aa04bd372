"""What a caller sees of a real engine while it loads and reads, if it asked for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness import serving
from raw_caller import request

from moltbot_edge.config.schema import Config, Engines, Model

pytestmark = pytest.mark.anyio


async def test_a_real_model_is_seen_to_load_and_to_read(llama_server: Path, chat_model: Path) -> None:
    engines = Engines(command=str(llama_server), args=["-t", "1", "-ub", "64", "-b", "64"], context_tokens=1024)
    config = Config(model_registry=[Model(name="small", file=str(chat_model))], engines=engines)
    asked = {
        "model": "small",
        "messages": [{"role": "user", "content": "the house is red " * 60 + "What colour is the house?"}],
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_progress": True, "include_usage": True},
    }
    async with serving(config) as gateway, gateway.caller() as client:
        await client.send(request(asked))
        data = b"".join([piece async for piece in client.pieces(await client.head())])
    events = [json.loads(one.removeprefix(b"data: ")) for one in data.split(b"\n\n") if one.startswith(b"data: {")]
    told = [one["progress"] for one in events if "progress" in one]
    phases = list(dict.fromkeys(one["phase"] for one in told))
    assert phases == ["queued", "loading", "prefill"]
    read = [one["done"] for one in told if one["phase"] == "prefill"]
    assert read == sorted(read)
    assert len(read) >= 3
    assert read[-1] == 1
    answer = events[len(told) :]
    assert not any("prompt_progress" in one for one in answer)
    assert answer[0]["choices"][0]["delta"]["role"] == "assistant"
    assert answer[-1]["usage"]["prompt_tokens"] > 200


async def test_a_caller_of_another_dialect_sees_it_in_its_own(llama_server: Path, chat_model: Path) -> None:
    engines = Engines(command=str(llama_server), args=["-t", "1"], context_tokens=512)
    config = Config(model_registry=[Model(name="small", file=str(chat_model))], engines=engines)
    asked = {
        "model": "small",
        "messages": [{"role": "user", "content": "Hello!"}],
        "max_tokens": 2,
        "stream": True,
        "stream_options": {"include_progress": True},
    }
    async with serving(config) as gateway, gateway.caller() as client:
        await client.send(request(asked, path="/v1/messages"))
        data = b"".join([piece async for piece in client.pieces(await client.head())])
    events = [one.partition(b"\ndata: ") for one in data.split(b"\n\n") if one]
    told = [json.loads(said)["progress"]["phase"] for kind, _, said in events if b'"progress"' in said]
    assert list(dict.fromkeys(told)) == ["queued", "loading", "prefill"]
    assert all(kind == b"event: ping" for kind, _, _ in events[: len(told)])
    assert events[len(told)][0] == b"event: message_start"
    assert events[-1][0] == b"event: message_stop"
