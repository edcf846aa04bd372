"""As a program that knows only Ollama: its own client, unmodified, before a real engine and a real model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import ollama
import pytest
from harness import serving

from moltbot_edge.config.schema import Config, Engines, Model

pytestmark = [pytest.mark.anyio, pytest.mark.thorough, pytest.mark.timeout(180)]

GENTLE = ["--threads", "1", "--poll", "0"]  # two engines that spin starve each other on two cores
TOOLS = str(Path(__file__).parent / "tools.jinja")
QUESTION = "What is the capital of France? Answer in one sentence."
ASKED = [{"role": "user", "content": QUESTION}]
BRIEF = {"temperature": 0, "num_predict": 30}
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris"]}},
    "required": ["city"],
}


@asynccontextmanager
async def client(llama_server: Path, chat_model: Path) -> AsyncIterator[ollama.AsyncClient]:
    """One file as two models: one that chats, and one whose hidden states are its embeddings."""
    settings = Config(
        model_registry=[
            Model(
                name="chat",
                file=str(chat_model),
                engine_args=[*GENTLE, "--jinja", "--chat-template-file", TOOLS],
                context_tokens=1024,
            ),
            Model(name="embed", file=str(chat_model), engine_args=[*GENTLE, "--embeddings", "--pooling", "mean"]),
        ],
        engines=Engines(command=str(llama_server)),
    )
    async with serving(settings, within_s=170) as gateway, ollama.AsyncClient(host=gateway.url) as served:
        yield served


async def test_a_program_that_knows_only_ollama(llama_server: Path, chat_model: Path) -> None:
    async with client(llama_server, chat_model) as served:
        await what_there_is(served)
        await a_chat(served)
        await a_completion(served)
        await a_structured_answer(served)
        await a_call_of_a_tool(served)
        await embeddings(served)
        await errors(served)


async def what_there_is(served: ollama.AsyncClient) -> None:
    listed = await served.list()
    assert [model.model for model in listed.models] == ["chat", "embed", "auto"]
    shown = await served.show("chat:latest")
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 1024
    assert shown.capabilities == ["completion", "tools"]
    loaded = await served.generate("chat", keep_alive="10m")
    assert (loaded.done, loaded.done_reason) == (True, "load")
    running = await served.ps()
    assert [model.model for model in running.models] == ["chat"]


async def a_chat(served: ollama.AsyncClient) -> None:
    whole = await served.chat("chat", messages=ASKED, options=BRIEF)
    assert whole.message.content is not None
    assert "Paris" in whole.message.content
    assert whole.done_reason in ("stop", "length")
    assert whole.eval_count is not None
    assert whole.eval_duration is not None
    assert whole.total_duration is not None
    assert whole.eval_count > 3
    assert 0 < whole.eval_duration <= whole.total_duration
    pieces = [piece async for piece in await served.chat("chat", messages=ASKED, options=BRIEF, stream=True)]
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert len(pieces) > 5
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].eval_count == whole.eval_count


async def a_completion(served: ollama.AsyncClient) -> None:
    whole = await served.generate("chat", prompt=QUESTION, options=BRIEF)
    assert "Paris" in (whole.response or "")
    pieces = [piece async for piece in await served.generate("chat", prompt=QUESTION, options=BRIEF, stream=True)]
    assert "".join(piece.response or "" for piece in pieces) == whole.response


async def a_structured_answer(served: ollama.AsyncClient) -> None:
    answer = await served.chat("chat", messages=ASKED, format=CITY, options=BRIEF)
    assert (answer.message.content or "").replace(" ", "").replace("\n", "") == '{"city":"Paris"}'


async def a_call_of_a_tool(served: ollama.AsyncClient) -> None:
    def get_weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: its name
        """
        return city

    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]
    answer = await served.chat("chat", messages=messages, tools=[get_weather], options=BRIEF)
    messages.append(answer.message)
    for call in answer.message.tool_calls or ():
        messages.append({"role": "tool", "tool_name": call.function.name, "content": "sunny"})
    again = await served.chat("chat", messages=messages, tools=[get_weather], options=BRIEF)
    assert again.done


async def embeddings(served: ollama.AsyncClient) -> None:
    several = await served.embed("embed", input=["a cat", "a dog"])
    assert [len(vector) for vector in several.embeddings] == [576, 576]
    assert several.prompt_eval_count
    one = await served.embeddings("embed", prompt="a cat")
    assert list(one.embedding) == list(several.embeddings[0])


async def errors(served: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError, match="no model named 'other'") as caught:
        await served.chat("other", messages=ASKED)
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="model_registry"):
        await served.pull("llama3")
    with pytest.raises(ollama.ResponseError, match="suffix"):
        await served.generate("chat", prompt="def f(", suffix="return 1")
    with pytest.raises(ollama.ResponseError, match="think"):
        await served.chat("chat", messages=ASKED, think="hard")


async def test_a_model_stays_as_long_as_its_caller_wishes(llama_server: Path, chat_model: Path) -> None:
    async with client(llama_server, chat_model) as served:
        unloaded = await served.generate("chat", keep_alive=0)  # it does not run, and is not started to be stopped
        assert unloaded.done_reason == "unload"
        assert not (await served.ps()).models
        await served.chat("chat", messages=ASKED, options={"num_predict": 1}, keep_alive=-1)
        assert [model.model for model in (await served.ps()).models] == ["chat"]
        unloaded = await served.generate("chat", keep_alive=0)
        assert unloaded.done_reason == "unload"
        async with asyncio.timeout(10):
            while (await served.ps()).models:  # noqa: ASYNC110  (nobody is told)
                await asyncio.sleep(0.05)
