"""As a user: the command, a real engine, a real model, and OpenAI's own client, unmodified."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import NotFoundError, OpenAI

HERE = Path(__file__).parent
GENTLE = ["--threads", "1", "--poll", "0"]  # two engines that spin starve each other on two cores
START_S = 60
QUESTION = "What is the capital of France? Answer in one sentence."
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Served:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.client = OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def served(llama_server: Path, chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One file as two models: one that chats, and one whose hidden states are its embeddings."""
    folder = tmp_path_factory.mktemp("served")
    tools = ["--jinja", "--chat-template-file", str(HERE / "tools.jinja")]
    config = {
        "server": {"port": 0},
        "model_store": str(folder / "nothing"),
        "model_registry": [
            {"name": "chat", "file": str(chat_model), "engine_args": [*GENTLE, *tools]},
            {"name": "embed", "file": str(chat_model), "engine_args": [*GENTLE, "--embeddings", "--pooling", "mean"]},
        ],
        "aliases": {"gpt-4o-mini": "chat"},
        "engines": {"command": str(llama_server)},
    }
    file = folder / "moltbot.yaml"
    file.write_text(json.dumps(config))  # JSON is YAML
    process = subprocess.Popen(
        [sys.executable, "-m", "moltbot_edge", "serve", "--config", str(file)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        greeting = "".join(process.stdout.readline() for _ in range(4))
        found = re.search(r"base URL +(\S+)/v1", greeting)
        assert found is not None, greeting
        yield Served(process, found[1])
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def said(text: str | None) -> str:
    return (text or "").strip()


def test_chat(served: Served) -> None:
    reply = served.client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=30
    )
    assert "Paris" in said(reply.choices[0].message.content)
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.completion_tokens > 0


def test_streamed_chat_says_the_same_and_its_usage(served: Served) -> None:
    asked: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 30,
    }
    whole = served.client.chat.completions.create(**asked)
    chunks = list(served.client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    words = [said_now for chunk in chunks for choice in chunk.choices if (said_now := choice.delta.content)]
    assert len(words) > 1
    assert said("".join(words)) == said(whole.choices[0].message.content)
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def weather(city: str, call_id: str) -> list[dict[str, Any]]:
    arguments = json.dumps({"city": city})
    call = {"id": call_id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]


@pytest.fixture
def weather_question() -> dict[str, Any]:
    """Two worked examples: a model of 135 million parameters needs to be shown."""
    history = [*weather("Rome", "call_1"), *weather("Berlin", "call_2")]
    question = {"role": "user", "content": "What is the weather in Paris?"}
    return {"model": "chat", "messages": [*history, question], "tools": [TOOL], "temperature": 0, "max_tokens": 60}


def test_tools(served: Served, weather_question: dict[str, Any]) -> None:
    reply = served.client.chat.completions.create(**weather_question)
    assert reply.choices[0].finish_reason == "tool_calls"
    (call,) = reply.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_tools_streamed(served: Served, weather_question: dict[str, Any]) -> None:
    name, arguments = "", ""
    for chunk in served.client.chat.completions.create(**weather_question, stream=True):
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            assert call.function is not None
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert (name, json.loads(arguments)) == ("get_weather", {"city": "Paris"})


def test_embeddings(served: Served) -> None:
    reply = served.client.embeddings.create(model="embed", input=["a cat", "a dog"])
    first, second = (one.embedding for one in reply.data)
    assert len(first) == len(second) == 576  # SmolLM2-135M's width
    assert first != second
    assert reply.usage.prompt_tokens > 0


def test_completions(served: Served) -> None:
    reply = served.client.completions.create(model="chat", prompt="One, two, three,", temperature=0, max_tokens=4)
    assert "four" in reply.choices[0].text


def test_the_models_list(served: Served) -> None:
    assert [model.id for model in served.client.models.list()] == ["chat", "embed", "gpt-4o-mini", "auto"]
    assert served.client.models.retrieve("chat").id == "chat"


def test_an_unknown_model_is_an_error_that_says_what_there_is(served: Served) -> None:
    with pytest.raises(NotFoundError, match="chat, embed, gpt-4o-mini"):
        served.client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "hi"}])


def test_killing_the_gateway_leaves_no_engine(served: Served) -> None:
    """The last of this file: it ends what the others need."""
    engines = children(served.process.pid)
    assert len(engines) == 2
    os.kill(served.process.pid, signal.SIGKILL)
    served.process.wait(10)
    until = time.monotonic() + 10
    while any(alive(pid) for pid in engines) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in engines)


def children(pid: int) -> list[int]:
    listed = [Path(task, "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for line in listed for child in line.split()]


def alive(pid: int) -> bool:
    """A zombie that nobody has collected yet is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
