"""A conversation that comes back to its model after another one had the memory: seconds to the first token."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from swapping.gateway import Gateway

RULES = " ".join(f"Item {number} costs {number * 7 % 93} coins and lies in box {number % 17}." for number in range(150))
QUESTIONS = ("What is in box 3?", "And what is in box 4?")
REPLY_TOKENS = 8


class Turn(msgspec.Struct, frozen=True):
    prompt_tokens: int
    cached_tokens: int
    first_token_s: float


class Found(msgspec.Struct, frozen=True):
    """*turns* are of the conversation; the other model was asked after each. *saved_bytes* lie on the disk then."""

    turns: tuple[Turn, ...]
    saved_bytes: int

    @property
    def cached(self) -> float:
        """The share of the first prompt that did not have to be read again."""
        return self.turns[1].cached_tokens / self.turns[0].prompt_tokens

    @property
    def times(self) -> float:
        """How much sooner the first token came."""
        return self.turns[0].first_token_s / self.turns[1].first_token_s


async def run(models: list[Mapping[str, Any]], engine: str, folder: Path, engines: Mapping[str, Any]) -> Found:
    """Of two *models*, of which one fits into ``memory_mb`` at a time."""
    gateway = Gateway(folder, models, {"command": engine, **engines})
    await gateway.start()
    try:
        here, there = (str(model["name"]) for model in models)
        messages = [{"role": "system", "content": RULES}]
        turns = []
        for question in QUESTIONS:
            messages.append({"role": "user", "content": question})
            turn, said = await _turn(gateway, here, messages)
            turns.append(turn)
            messages.append({"role": "assistant", "content": said})
            await _turn(gateway, there, [{"role": "user", "content": "Hello!"}])
        return Found(tuple(turns), int(await gateway.metric("moltbot_kv_bytes")))
    finally:
        gateway.stop()


async def _turn(gateway: Gateway, model: str, messages: list[dict[str, str]]) -> tuple[Turn, str]:
    """Seconds from sending a request, with the model's load if there has to be one, to the first token."""
    asked = {"model": model, "messages": messages, "max_tokens": REPLY_TOKENS, "temperature": 0, "stream": True}
    body = json.dumps({**asked, "stream_options": {"include_usage": True}}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    first_s, said = 0.0, ""
    usage: dict[str, Any] = {}
    async for line in reader:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line.removeprefix(b"data: "))
        usage = event.get("usage") or usage
        for choice in event.get("choices", ()):
            if content := choice["delta"].get("content"):
                first_s = first_s or time.monotonic() - began
                said += content
    writer.close()
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return Turn(usage["prompt_tokens"], cached, first_s), said
