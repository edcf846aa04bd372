"""As a user of Anthropic's own client: the command, a real engine of OpenAI's shape, and a template that is strict."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic, BadRequestError, NotFoundError

pytestmark = pytest.mark.thorough

HERE = Path(__file__).parent
GENTLE = ["--threads", "1", "--poll", "0"]  # two engines that spin starve each other on two cores
QUESTION: dict[str, Any] = {
    "model": "chat",
    "max_tokens": 30,
    "messages": [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}],
    "extra_body": {"temperature": 0},
}
TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module")
def client(llama_server: Path, chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anthropic]:
    """One file as two models: one that calls tools, and one whose template refuses what is not as it wants it."""
    folder = tmp_path_factory.mktemp("served")

    def model(name: str, template: str) -> dict[str, Any]:
        flags = [*GENTLE, "--jinja", "--chat-template-file", str(HERE / template)]
        return {"name": name, "file": str(chat_model), "engine_args": flags}

    config = {
        "server": {"port": 0},
        "model_store": str(folder / "nothing"),
        "model_registry": [model("chat", "tools.jinja"), model("strict", "strict.jinja")],
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
        with Anthropic(base_url=found[1], api_key="any", max_retries=0, timeout=120) as made:
            yield made
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def test_a_message(client: Anthropic) -> None:
    message = client.messages.create(**QUESTION)
    (block,) = message.content
    assert block.type == "text"
    assert "Paris" in block.text
    assert (message.model, message.role, message.stop_reason) == ("chat", "assistant", "end_turn")
    assert message.usage.output_tokens > 0


def test_a_stream_says_the_same(client: Anthropic) -> None:
    whole = client.messages.create(**QUESTION)
    with client.messages.stream(**QUESTION) as stream:
        texts = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(texts) > 1
    assert [block.model_dump(include={"type", "text"}) for block in final.content] == [
        block.model_dump(include={"type", "text"}) for block in whole.content
    ]
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_the_engine_counts_what_it_then_reads(client: Anthropic) -> None:
    asked = {"model": "chat", "messages": QUESTION["messages"], "system": "Be short.", "tools": [TOOL]}
    message = client.messages.create(**QUESTION | {"max_tokens": 1, "system": "Be short.", "tools": [TOOL]})
    usage = message.usage
    counted = client.messages.count_tokens(**asked)
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def weather(city: str, call_id: str) -> list[dict[str, Any]]:
    call = {"type": "tool_use", "id": call_id, "name": "get_weather", "input": {"city": city}}
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": "rain"}]},
    ]


def test_tools_streamed(client: Anthropic) -> None:
    """Two worked examples: a model of 135 million parameters needs to be shown."""
    asked: Any = {
        "model": "chat",
        "messages": [
            *weather("Rome", "toolu_1"),
            *weather("Berlin", "toolu_2"),
            {"role": "user", "content": "What is the weather in Paris?"},
        ],
        "tools": [TOOL],
        "max_tokens": 60,
        "extra_body": {"temperature": 0},
    }
    with client.messages.stream(**asked) as stream:
        message = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    (call,) = message.content
    assert call.type == "tool_use"
    assert (call.name, call.input) == ("get_weather", {"city": "Paris"})


def test_an_answer_by_a_schema(client: Anthropic) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    asked: Any = QUESTION | {"output_config": {"format": {"type": "json_schema", "schema": schema}}, "max_tokens": 60}
    (block,) = client.messages.create(**asked).content
    assert block.type == "text"
    assert set(json.loads(block.text)) == {"city"}


def test_a_strict_template_is_given_what_it_wants(client: Anthropic) -> None:
    """Calls at once, an id that is too long, one that nobody answered, a system message and two turns in a row."""
    calls = [
        {"type": "tool_use", "id": f"toolu_01AbCdEf_{city}", "name": "get_weather", "input": {"city": city}}
        for city in ("Rome", "Paris")
    ]
    messages: Any = [
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "The weather, please."},
        {"role": "user", "content": "In Rome and Paris."},
        {"role": "system", "content": "Tools may fail."},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": calls[0]["id"], "content": "rain"}]},
        {"role": "user", "content": "And?"},
    ]
    asked: Any = QUESTION | {"model": "strict", "messages": messages, "system": "Be short.", "max_tokens": 4}
    for _ in range(2):
        assert client.messages.create(**asked).usage.output_tokens > 0


def test_a_picture_for_a_model_of_words_is_refused(client: Anthropic) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    asked: Any = QUESTION | {"messages": [{"role": "user", "content": [image]}]}
    with pytest.raises(BadRequestError, match="takes no images") as refused:
        client.messages.create(**asked)
    assert refused.value.type == "invalid_request_error"


def test_the_models_and_one_that_is_not_there(client: Anthropic) -> None:
    assert [model.id for model in client.models.list()][:2] == ["chat", "strict"]
    assert client.models.retrieve("chat").id == "chat"
    with pytest.raises(NotFoundError, match="chat, strict"):
        client.messages.create(**QUESTION | {"model": "claude-9"})
