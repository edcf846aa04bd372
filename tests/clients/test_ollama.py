"""Ollama's own client for Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from clients import eyes
from clients.target import (
    CAPITAL,
    KEY,
    PICTURE,
    QUESTION,
    SYSTEM,
    TIMEOUT_S,
    TOO_LONG,
    WEATHER,
    WHAT,
    WRONG_KEY,
    Capital,
    Target,
)

TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather of a city", "parameters": WEATHER},
}
ASKED: Any = [{"role": "user", "content": QUESTION}]


def knowing(url: str, key: str) -> ollama.Client:
    return ollama.Client(host=url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S)


@pytest.fixture(scope="module")
def client(target: Target) -> Iterator[ollama.Client]:
    with knowing(target.url, KEY) as made:
        yield made


def brief(tokens: int = 24) -> dict[str, Any]:
    return {"temperature": 0, "num_predict": tokens}


def weathers(*cities: str) -> list[Any]:
    calls = [{"function": {"name": "get_weather", "arguments": {"city": city}}} for city in cities]
    return [
        {"role": "user", "content": f"What is the weather in {' and in '.join(cities)}?"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        *({"role": "tool", "tool_name": "get_weather", "content": "rain"} for _ in cities),
    ]


def test_a_conversation(client: ollama.Client, target: Target) -> None:
    messages: list[Any] = [{"role": "system", "content": SYSTEM}, *ASKED]
    reply = client.chat(target.chat, messages=messages, options=brief())
    assert "Paris" in (reply.message.content or "")
    assert reply.model in target.names
    assert (reply.done, reply.done_reason) == (True, "stop")
    assert reply.eval_count is not None
    assert reply.prompt_eval_count is not None
    assert reply.total_duration is not None
    assert reply.eval_count > 3
    then = [*messages, reply.message, {"role": "user", "content": "Thank you."}]
    assert client.chat(target.chat, messages=then, options=brief(4)).message.content


def test_a_stream_says_the_same(client: ollama.Client, target: Target) -> None:
    whole = client.chat(target.chat, messages=ASKED, options=brief())
    pieces = list(client.chat(target.chat, messages=ASKED, options=brief(), stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert len(pieces) > 3
    assert pieces[-1].eval_count == whole.eval_count


def test_a_completion(client: ollama.Client, target: Target) -> None:
    pieces = list(client.generate(target.chat, prompt=QUESTION, system=SYSTEM, options=brief(), stream=True))
    assert "Paris" in "".join(piece.response or "" for piece in pieces)


def test_a_tool_and_what_follows_from_it(client: ollama.Client, target: Target) -> None:
    told = [*weathers("Rome"), *weathers("Berlin"), weathers("Paris")[0]]
    reply = client.chat(target.chat, messages=told, tools=[TOOL], options=brief(40))
    (call,) = reply.message.tool_calls or ()
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})
    then = [*told, reply.message, {"role": "tool", "tool_name": "get_weather", "content": "snow"}]
    assert client.chat(target.chat, messages=then, options=brief(4)).message.content


def test_tools_in_parallel_streamed(client: ollama.Client, target: Target) -> None:
    told = [*weathers("Rome", "Oslo"), *weathers("Lima", "Cairo"), weathers("Paris", "Berlin")[0]]
    pieces = client.chat(target.chat, messages=told, tools=[TOOL], options=brief(80), stream=True)
    calls = [call.function.arguments for piece in pieces for call in piece.message.tool_calls or ()]
    assert calls == [{"city": "Paris"}, {"city": "Berlin"}]


def test_a_structured_answer(client: ollama.Client, target: Target) -> None:
    reply = client.chat(target.chat, messages=ASKED, format=CAPITAL, options=brief(40))
    assert json.loads(reply.message.content or "") == {"country": "France", "capital": "Paris"}
    formed = client.chat(target.chat, messages=ASKED, format=Capital.model_json_schema(), options=brief(60))
    Capital.model_validate_json(formed.message.content or "")


def test_a_conversation_that_is_kept(client: ollama.Client, target: Target) -> None:
    first = client.generate(target.chat, QUESTION, context=[], options=brief())
    assert first.context
    *_, second = client.generate(target.chat, "And of Italy?", context=first.context, options=brief(), stream=True)
    assert second.context
    third = client.generate(target.chat, "Thank you.", context=second.context, options=brief(4))
    read = [reply.prompt_eval_count or 0 for reply in (first, second, third)]
    assert read[0] < read[1] < read[2]


def test_a_picture_for_a_model_of_words_is_refused(client: ollama.Client, target: Target) -> None:
    asked: Any = [{"role": "user", "content": WHAT, "images": [PICTURE]}]
    with pytest.raises(ollama.ResponseError, match="image") as refused:
        client.chat(target.chat, messages=asked, options=brief())
    assert refused.value.status_code == 400


def test_a_picture_is_read(client: ollama.Client, target: Target) -> None:
    read = []
    for images in ([], [PICTURE]):
        said: Any = [{"role": "user", "content": WHAT, "images": images}]
        reply = client.chat(target.see, messages=said, options=brief(4))
        assert reply.message.content
        read.append(reply.prompt_eval_count or 0)
    assert read[1] - read[0] >= eyes.PATCHES


def test_embeddings(client: ollama.Client, target: Target) -> None:
    if not target.embeds:
        with pytest.raises(ollama.ResponseError, match="cannot be had"):
            client.embed(target.embed, input="a cat")
        return
    several = client.embed(target.embed, input=["a cat", "a dog"])
    assert [len(vector) for vector in several.embeddings] == [576, 576]
    one = client.embeddings(target.embed, prompt="a cat")
    assert list(one.embedding) == pytest.approx(list(several.embeddings[0]), abs=1e-4)


def test_the_models(client: ollama.Client, target: Target) -> None:
    assert {target.chat, target.embed} <= {model.model for model in client.list().models}
    assert "completion" in (client.show(target.chat).capabilities or ())
    assert client.ps().models is not None
    with pytest.raises(ollama.ResponseError, match="nobody"):
        client.show("nobody")


def test_errors(client: ollama.Client, target: Target) -> None:
    with pytest.raises(ollama.ResponseError, match=target.chat) as unknown:
        client.chat("nobody", messages=ASKED)
    assert unknown.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match=r"options\.temperature") as malformed:
        client.chat(target.chat, messages=ASKED, options={"temperature": "hot"})
    assert malformed.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="context") as long:
        client.chat(target.chat, messages=[{"role": "user", "content": TOO_LONG}], options=brief())
    assert long.value.status_code == 400
    with knowing(target.url, WRONG_KEY) as stranger, pytest.raises(ollama.ResponseError) as refused:
        stranger.chat(target.chat, messages=ASKED)
    assert refused.value.status_code == 401
