"""OpenAI's own client for Python: its chat and what is beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

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
    openai_messages,
)
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI

TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather of a city", "parameters": WEATHER},
}
URL = f"data:image/png;base64,{PICTURE}"
ONE: Any = [("Rome",), ("Berlin",), ("Paris",)]
TWO: Any = [("Rome", "Oslo"), ("Lima", "Cairo"), ("Paris", "Berlin")]


@pytest.fixture(scope="module")
def client(target: Target) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{target.url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_S) as made:
        yield made


def asked(target: Target, *messages: Any, tokens: int = 24, **more: Any) -> dict[str, Any]:
    said = messages or ({"role": "user", "content": QUESTION},)
    asked = {"model": target.chat, "messages": list(said), "temperature": 0, "max_tokens": tokens}
    return asked | more


def test_a_conversation(client: OpenAI, target: Target) -> None:
    first = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    reply = client.chat.completions.create(**asked(target, *first))
    (choice,) = reply.choices
    assert "Paris" in (choice.message.content or "")
    assert reply.model in target.names
    assert (reply.object, choice.index, choice.finish_reason) == ("chat.completion", 0, "stop")
    assert reply.id
    assert reply.created > 1_700_000_000
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 8
    then = [*first, choice.message.to_dict(), {"role": "user", "content": "Thank you."}]
    assert client.chat.completions.create(**asked(target, *then, tokens=4)).choices[0].message.content


def test_a_stream_says_the_same(client: OpenAI, target: Target) -> None:
    whole = client.chat.completions.create(**asked(target))
    with client.chat.completions.stream(**asked(target), stream_options={"include_usage": True}) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].finish_reason == "stop"
    assert sum(event.type == "content.delta" for event in events) > 1
    assert final.usage is not None
    assert whole.usage is not None
    assert final.usage.completion_tokens == whole.usage.completion_tokens


def test_a_tool_and_what_follows_from_it(client: OpenAI, target: Target) -> None:
    told = openai_messages(*ONE)
    reply = client.chat.completions.create(**asked(target, *told, tools=[TOOL], tokens=40))
    assert reply.choices[0].finish_reason == "tool_calls"
    (call,) = reply.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "snow"}
    then = [*told, reply.choices[0].message.to_dict(), result]
    assert client.chat.completions.create(**asked(target, *then, tokens=4)).choices[0].message.content


def test_tools_in_parallel_streamed(client: OpenAI, target: Target) -> None:
    request = asked(target, *openai_messages(*TWO), tools=[TOOL], tokens=80, parallel_tool_calls=True)
    with client.chat.completions.stream(**request) as stream:
        message = stream.get_final_completion().choices[0].message
    calls = message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Paris"}, {"city": "Berlin"}]
    assert len({call.id for call in calls}) == 2


def test_a_structured_answer(client: OpenAI, target: Target) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "capital", "schema": CAPITAL, "strict": True}}
    reply = client.chat.completions.create(**asked(target, response_format=form, tokens=40))
    assert json.loads(reply.choices[0].message.content or "") == {"country": "France", "capital": "Paris"}
    parsed = client.chat.completions.parse(**asked(target, tokens=60), response_format=Capital)
    assert parsed.choices[0].message.parsed is not None


def test_a_picture_for_a_model_of_words_is_refused(client: OpenAI, target: Target) -> None:
    parts = [
        {"type": "text", "text": WHAT},
        {"type": "image_url", "image_url": {"url": URL}},
    ]
    with pytest.raises(BadRequestError, match="image"):
        client.chat.completions.create(**asked(target, {"role": "user", "content": parts}))


def test_a_picture_is_read(client: OpenAI, target: Target) -> None:
    words, picture = {"type": "text", "text": WHAT}, {"type": "image_url", "image_url": {"url": URL}}
    read = []
    for parts in ([words], [words, picture]):
        reply = client.chat.completions.create(
            **asked(target, {"role": "user", "content": parts}, model=target.see, tokens=4)
        )
        assert reply.choices[0].message.content
        assert reply.usage is not None
        read.append(reply.usage.prompt_tokens)
    assert read[1] - read[0] >= eyes.PATCHES


def test_embeddings(client: OpenAI, target: Target) -> None:
    if not target.embeds:
        with pytest.raises(BadRequestError, match="cannot be had"):
            client.embeddings.create(model=target.embed, input="a cat")
        return
    reply = client.embeddings.create(model=target.embed, input=["a cat", "a dog"])  # as base64, unless told otherwise
    first, second = (one.embedding for one in reply.data)
    assert len(first) == len(second) == 576  # SmolLM2-135M's width
    assert first != second
    assert reply.usage.prompt_tokens > 0
    (plain,) = client.embeddings.create(model=target.embed, input="a cat", encoding_format="float").data
    assert plain.embedding == pytest.approx(first, abs=1e-4)


def test_the_models(client: OpenAI, target: Target) -> None:
    names = [model.id for model in client.models.list()]
    assert {target.chat, target.embed} <= set(names)
    model = client.models.retrieve(target.chat)
    assert (model.id, model.object) == (target.chat, "model")
    assert model.created >= 0
    assert model.owned_by
    with pytest.raises(NotFoundError):
        client.models.retrieve("nobody")


def test_errors(client: OpenAI, target: Target) -> None:
    with pytest.raises(NotFoundError, match=target.chat) as unknown:
        client.chat.completions.create(**asked(target) | {"model": "nobody"})
    assert unknown.value.code == "model_not_found"
    with pytest.raises(BadRequestError) as malformed:
        client.chat.completions.create(**asked(target, {"role": "user", "content": 7}))
    assert malformed.value.param == "messages[0].content"
    with pytest.raises(BadRequestError) as warm:
        client.chat.completions.create(**asked(target) | {"temperature": "hot"})
    assert warm.value.param == "temperature"
    with pytest.raises(BadRequestError, match="context") as long:
        client.chat.completions.create(**asked(target, {"role": "user", "content": TOO_LONG}))
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(AuthenticationError):
        client.with_options(api_key=WRONG_KEY).chat.completions.create(**asked(target))
    if target.name in ("engine", "openai-chat"):  # its own engine has as many answers as slots
        assert len(client.chat.completions.create(**asked(target, tokens=2), n=2).choices) == 2
        return
    with pytest.raises(BadRequestError) as twice:
        client.chat.completions.create(**asked(target), n=2)
    assert twice.value.param == "n"
