"""One of the ways in which a client meets a model, and what all clients ask of it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from pydantic import BaseModel

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages", "ollama")
KEY = "a key of these tests"
WRONG_KEY = "a key of nobody's"
CONTEXT_TOKENS = 1024
TIMEOUT_S = 120
QUESTION = "What is the capital of France? Answer in one sentence."
TOO_LONG = "the house is red " * 600
SYSTEM = "You are a helpful assistant."
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CAPITAL = {
    "type": "object",
    "properties": {"country": {"type": "string", "enum": ["France"]}, "capital": {"type": "string", "enum": ["Paris"]}},
    "required": ["country", "capital"],
    "additionalProperties": False,
}
# A red square, of 8 pixels a side.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mP4z8CAFTEMLQkAKP8/wc53yE8AAAAASUVORK5CYII="
WHAT = "What is this?"


class Capital(BaseModel):
    country: str
    capital: str


class Target(msgspec.Struct, frozen=True):
    """*name* is the dialect in which the gateway at *url* asks its upstream; "engine": it has the engines itself."""

    name: str
    url: str
    chat: str
    embed: str
    see: str

    @property
    def names(self) -> tuple[str, str]:
        """What a reply may call the model: as it was asked for, or as its upstream does, where bytes pass."""
        return (self.chat, "chat")

    @property
    def counts_by_engine(self) -> bool:
        return self.name in ("engine", "anthropic-messages")

    @property
    def embeds(self) -> bool:
        """Whether its upstream's dialect has embeddings."""
        return self.name != "anthropic-messages"

    @property
    def can_force_a_tool(self) -> bool:
        return self.name != "ollama"


def is_about(text: str | None, word: str) -> bool:
    return word in (text or "")


def arguments(city: str) -> str:
    return json.dumps({"city": city})


def openai_messages(*cities: tuple[str, ...]) -> list[Any]:
    """Worked examples in OpenAI's words: a small model needs to be shown. The last is the question."""
    told: list[Any] = []
    for number, named in enumerate(cities, 1):
        told.append({"role": "user", "content": f"What is the weather in {' and in '.join(named)}?"})
        if number == len(cities):
            break
        calls = [
            {
                "id": f"call_{number}{city}",
                "type": "function",
                "function": {"name": "get_weather", "arguments": arguments(city)},
            }
            for city in named
        ]
        told.append({"role": "assistant", "content": None, "tool_calls": calls})
        told += [{"role": "tool", "tool_call_id": call["id"], "content": "rain"} for call in calls]
    return told
