"""As a user of OpenAI's Responses: the command, a real engine, OpenAI's own client.

The engine is asked in two dialects: its chat, from which everything is translated, and its own Responses, which lack
what the client demands.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types.responses import ResponseFunctionToolCall
from pydantic import BaseModel

pytestmark = pytest.mark.thorough

HERE = Path(__file__).parent
START_S = 60
QUESTION = "What is the capital of France? Answer in one sentence."
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


def weathers(**said: str) -> list[Any]:
    """A worked example: a small model calls two tools when it has seen how."""
    calls = [
        {
            "type": "function_call",
            "call_id": f"call_{city}",
            "name": TOOL["name"],
            "arguments": json.dumps({"city": city}),
        }
        for city in said
    ]
    results = [
        {"type": "function_call_output", "call_id": f"call_{city}", "output": word} for city, word in said.items()
    ]
    return [{"role": "user", "content": f"What is the weather in {' and in '.join(said)}?"}, *calls, *results]


BOTH_WEATHERS: Any = [
    *weathers(Rome="sunny", Oslo="rain"),
    *weathers(Lima="fog", Cairo="hot"),
    *weathers(Bonn="fog", Bern="hot"),
    {"role": "user", "content": "What is the weather in Paris and in Berlin?"},
]


class Capital(BaseModel):
    country: str
    capital: str


@pytest.fixture(scope="module")
def engine(llama_server: Path, chat_model: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--threads", "1", "--poll", "0", "--ctx-size", "2048", "--parallel", "1", "--jinja"]
    template = ["--chat-template-file", str(HERE / "tools.jinja")]
    place = ["--host", "127.0.0.1", "--port", str(port)]
    command = [str(llama_server), "--model", str(chat_model), *flags, *template, *place]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(START_S * 10):
            try:
                with urllib.request.urlopen(f"{url}/health"):
                    break
            except OSError:  # it does not listen yet, or loads its model
                assert process.poll() is None
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def client(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    folder = tmp_path_factory.mktemp("served")
    config = {
        "server": {"port": 0},
        "model_store": str(folder / "nothing"),
        "model_registry": [
            {"name": "translated", "model": "chat", "endpoint": engine, "type": "openai-chat"},
            {"name": "completed", "model": "chat", "endpoint": engine, "type": "openai-responses"},
        ],
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
        with OpenAI(base_url=f"{found[1]}/v1", api_key="any", max_retries=0, timeout=120) as made:
            yield made
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


both = pytest.mark.parametrize("model", ["translated", "completed"])


@both
def test_a_response(client: OpenAI, model: str) -> None:
    response = client.responses.create(model=model, input=QUESTION, temperature=0, max_output_tokens=30)
    assert "Paris" in response.output_text
    assert (response.object, response.status, response.tools, response.tool_choice) == (
        "response",
        "completed",
        [],
        "auto",
    )
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0


@both
def test_a_stream_says_the_same(client: OpenAI, model: str) -> None:
    whole = client.responses.create(model=model, input=QUESTION, temperature=0, max_output_tokens=30)
    with client.responses.stream(model=model, input=QUESTION, temperature=0, max_output_tokens=30) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text == whole.output_text
    assert sum(event.type == "response.output_text.delta" for event in events) > 1
    assert final.usage is not None


@both
def test_tools_in_parallel(client: OpenAI, model: str) -> None:
    asked: Any = {"model": model, "input": BOTH_WEATHERS, "tools": [TOOL], "temperature": 0, "max_output_tokens": 90}
    whole = client.responses.create(**asked, parallel_tool_calls=True)
    with client.responses.stream(**asked, parallel_tool_calls=True) as stream:
        streamed = stream.get_final_response()
    for response in (whole, streamed):
        calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
        assert [json.loads(call.arguments)["city"] for call in calls] == ["Paris", "Berlin"]
        assert len({call.call_id for call in calls}) == 2
    # And the conversation goes on with what the client was given.
    given: Any = [item.model_dump(exclude_none=True) for item in whole.output]
    results: Any = [{"type": "function_call_output", "call_id": item["call_id"], "output": "snow"} for item in given]
    after = client.responses.create(model=model, input=[*BOTH_WEATHERS, *given, *results], max_output_tokens=8)
    assert after.output_text


def test_an_answer_in_a_form(client: OpenAI) -> None:
    response = client.responses.parse(  # the engine's own Responses keep to none
        model="translated", input="The capital of France", text_format=Capital, temperature=0, max_output_tokens=100
    )
    assert isinstance(response.output_parsed, Capital)


def test_a_reply_that_is_cut_off_is_incomplete(client: OpenAI) -> None:
    response = client.responses.create(model="translated", input=QUESTION, temperature=0, max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_what_cannot_be_had_is_a_400_that_names_it(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as built_in:
        client.responses.create(model="translated", input="hi", tools=[{"type": "web_search"}])
    assert built_in.value.param == "tools[0]"
    with pytest.raises(BadRequestError) as kept:
        client.responses.create(model="translated", input="hi", previous_response_id="resp_1")
    assert kept.value.param == "previous_response_id"
    with pytest.raises(NotFoundError):
        client.responses.create(model="nobody", input="hi")
