"""A gateway that keeps what callers of OpenAI's Responses say, and what its upstream is told and says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from harness import Gateway, serving
from raw_caller import Answer
from scripted_upstream import Script, Upstream, upstream

from moltbot_edge.config.schema import Config, Key, Model, Sessions

PATH = "/v1/responses"
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
RECORDINGS = Path(__file__).parent / "recordings/openai_responses"
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
CALLS = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
                    }
                ],
            },
        }
    ],
}


@asynccontextmanager
async def keeping(
    folder: Path,
    *scripts: Script,
    kind: str = "openai-chat",
    keys: tuple[Key, ...] = (),
    secret: str | None = None,
    **of: Any,
) -> AsyncIterator[tuple[Upstream, Gateway]]:
    async with upstream(*scripts) as box:
        config = Config(
            model_registry=[Model(name="chat", endpoint=box.url, type=kind)],
            sessions=Sessions(path=str(folder), **of),
            keys=list(keys),
        )
        async with serving(config, secret=secret) as gateway:
            yield box, gateway


async def ask(gateway: Gateway, said: Any, *headers: str, **more: Any) -> Answer:
    return await gateway.ask({"model": "chat", "input": said, **more}, *headers, path=PATH)


def heard(box: Upstream, place: int = -1) -> list[tuple[str, Any]]:
    """What an upstream was told."""
    return [(one["role"], one.get("content")) for one in json.loads(box.asked[place].body)["messages"]]


def events(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(data) for one in answer.body.split(b"\n\n") for data in one.split(b"\ndata: ")[1:]]


def keys_of(*names: str) -> tuple[Key, ...]:
    """Each name is its key's secret too."""
    return tuple(Key(name=name, hash=f"sha256:{hashlib.sha256(name.encode()).hexdigest()}") for name in names)
