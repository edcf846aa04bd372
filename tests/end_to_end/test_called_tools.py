"""Tools that one model called, read by real ones: a strict template, one without a word for tools, one with them.

Of the first model only the calls are wanted, so it is a script; what the others were given, their engines tell.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import engine_eyes
import pytest
from harness import Gateway, serving
from raw_caller import Answer
from scripted_upstream import answers, upstream

from moltbot_edge.config.schema import Config, Engines, Model, Router, Sessions

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

HERE = Path(__file__).parent
GENTLE = ["--threads", "1", "--poll", "0"]  # engines that spin starve each other on two cores
SESSION = "x-moltbot-session: errand"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CITIES = {"call_7f-Weather_Rome": "Rome", "call_7f-Weather_Oslo": "Oslo"}
CALLS = [
    {"id": id, "type": "function", "function": {"name": "weather", "arguments": json.dumps({"city": city})}}
    for id, city in CITIES.items()
]
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "theirs",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "tool_calls": CALLS},
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}


async def ask(gateway: Gateway, model: str, *messages: dict[str, Any], **more: Any) -> Answer:
    asked = {"model": model, "messages": messages, "max_tokens": 4, "temperature": 0, **more}
    answer = await gateway.ask(asked, SESSION)
    assert answer.status == 200, answer.body
    return answer


async def prompt(model: str) -> str:
    return (await asyncio.to_thread(engine_eyes.last, os.getpid(), model)).prompt


def shown(city: str, id: str) -> list[dict[str, Any]]:
    """A worked example: a model of 135 million parameters needs to be shown."""
    arguments = json.dumps({"city": city})
    call = {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": id, "content": "rain"},
        {"role": "assistant", "content": f"It rains in {city}."},
    ]


async def test_a_model_that_called_a_tool_goes_on_from_there(
    llama_server: Path, chat_model: Path, tmp_path: Path
) -> None:
    flags = [*GENTLE, "--jinja", "--chat-template-file", str(HERE / "tools.jinja")]
    settings = Config(
        model_registry=[Model(name="tools", file=str(chat_model), context_tokens=1024, engine_args=flags)],
        engines=Engines(command=str(llama_server)),
        sessions=Sessions(path=str(tmp_path)),
    )
    async with serving(settings, within_s=170) as gateway:
        asked = {"role": "user", "content": "What is the weather in Paris?"}
        examples = [*shown("Rome", "call_1-of-mine"), *shown("Berlin", "call_2-of-mine")]
        called = await ask(gateway, "tools", *examples, asked, tools=[TOOL], max_tokens=60)
        (call,) = called.json["choices"][0]["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
        result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
        answered = await ask(gateway, "tools", result, max_tokens=30)
    said = answered.json["choices"][0]["message"]["content"]
    assert "sunny" in said
    # What it wrote to call the tool is read from its cache: it is sent again as it was.
    cached = answered.json["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= called.json["usage"]["total_tokens"] - 3


async def test_each_template_is_given_the_calls_as_it_takes_them(
    llama_server: Path, chat_model: Path, other_model: Path, tmp_path: Path
) -> None:
    def local(name: str, file: Path, template: str) -> Model:
        (place := tmp_path / f"{name}.gguf").symlink_to(file)
        flags = [*GENTLE, "--jinja", "--chat-template-file", str(HERE / template)]
        return Model(name=name, file=str(place), context_tokens=1024, engine_args=flags)

    async with upstream(answers(200, json.dumps(REPLY))) as script:
        settings = Config(
            model_registry=[
                Model(name="caller", endpoint=script.url, type="openai-chat"),
                local("strict", chat_model, "strict.jinja"),
                local("bare", other_model, "gemma.jinja"),
                local("tools", chat_model, "tools.jinja"),
            ],
            router=Router(policy="priority"),
            engines=Engines(command=str(engine_eyes.telling(llama_server, tmp_path))),
            sessions=Sessions(path=str(tmp_path / "sessions")),
        )
        async with serving(settings, within_s=170) as gateway:
            system = {"role": "system", "content": "Be short."}
            await ask(gateway, "caller", system, {"role": "user", "content": "Rain in Rome, in Oslo?"})
            results = [{"role": "tool", "tool_call_id": id, "content": f"rain, {CITIES[id]}"} for id in CITIES]
            # Its calls one by one, ids of nine characters, who speaks in turn: else its engine answers with an error.
            await ask(gateway, "strict", *results)
            strict = await prompt("strict")
            await ask(gateway, "tools", {"role": "user", "content": "Thanks."}, tools=[TOOL])
            tools = await prompt("tools")
            told = await ask(gateway, "bare", {"role": "user", "content": "And now?"})
            bare = await prompt("bare")
            await ask(gateway, "tools", {"role": "user", "content": "Good."})
            again = await prompt("tools")
    for seen in (strict, tools, bare):
        places = [seen.index(word) for word in ("Be short.", "Rain in Rome", '"Rome"}', "rain, Rome", "rain, Oslo")]
        assert places == sorted(places)
    assert strict.count("<tool_call>\n{") == tools.count("<tool_call>\n{") == 2
    assert "<tool_call>" not in bare
    assert "<start_of_turn>system" not in bare
    assert told.header("x-moltbot-dropped") == "tools"
    assert "You can call these tools" in tools
    assert again.startswith(tools)
