"""Anthropic's own client for Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic, AuthenticationError, BadRequestError, NotFoundError
from clients import eyes
from clients.target import (
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

TOOL: Any = {"name": "get_weather", "description": "The weather of a city", "input_schema": WEATHER}


@pytest.fixture(scope="module")
def client(target: Target) -> Iterator[Anthropic]:
    with Anthropic(base_url=target.url, api_key=KEY, max_retries=0, timeout=TIMEOUT_S) as made:
        yield made


def asked(target: Target, *messages: Any, tokens: int = 24, **more: Any) -> dict[str, Any]:
    said = messages or ({"role": "user", "content": QUESTION},)
    # The client knows no temperature any more, which models of this board still have.
    return {
        "model": target.chat,
        "messages": list(said),
        "max_tokens": tokens,
        "extra_body": {"temperature": 0},
        **more,
    }


def weathers(number: int, *cities: str) -> list[Any]:
    calls = [
        {"type": "tool_use", "id": f"toolu_{number}{city}", "name": "get_weather", "input": {"city": city}}
        for city in cities
    ]
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "rain"} for call in calls]
    return [
        {"role": "user", "content": f"What is the weather in {' and in '.join(cities)}?"},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": results},
    ]


def test_a_conversation(client: Anthropic, target: Target) -> None:
    message = client.messages.create(**asked(target, system=SYSTEM))
    (block,) = message.content
    assert block.type == "text"
    assert "Paris" in block.text
    assert message.model in target.names
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert message.usage.output_tokens > 3
    first = {"role": "user", "content": QUESTION}
    then = [first, {"role": "assistant", "content": message.content}, {"role": "user", "content": "Thank you."}]
    assert client.messages.create(**asked(target, *then, system=SYSTEM, tokens=4)).content


def test_a_stream_says_the_same(client: Anthropic, target: Target) -> None:
    whole = client.messages.create(**asked(target))
    with client.messages.stream(**asked(target)) as stream:
        texts = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(texts) > 1
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in whole.content] or (
        "".join(texts) == getattr(whole.content[0], "text", None)
    )
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


def test_a_tool_and_what_follows_from_it(client: Anthropic, target: Target) -> None:
    told = [*weathers(1, "Rome"), *weathers(2, "Berlin"), weathers(3, "Paris")[0]]
    message = client.messages.create(**asked(target, *told, tools=[TOOL], tokens=40))
    assert message.stop_reason == "tool_use"
    (call,) = (block for block in message.content if block.type == "tool_use")
    assert (call.name, call.input) == ("get_weather", {"city": "Paris"})
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "snow"}]}
    then = [*told, {"role": "assistant", "content": message.content}, result]
    assert client.messages.create(**asked(target, *then, tools=[TOOL], tokens=4)).usage.output_tokens


def test_tools_in_parallel_streamed(client: Anthropic, target: Target) -> None:
    told = [*weathers(1, "Rome", "Oslo"), *weathers(2, "Lima", "Cairo"), weathers(3, "Paris", "Berlin")[0]]
    with client.messages.stream(**asked(target, *told, tools=[TOOL], tokens=80)) as stream:
        message = stream.get_final_message()
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [call.input for call in calls] == [{"city": "Paris"}, {"city": "Berlin"}]
    assert len({call.id for call in calls}) == 2


def test_a_structured_answer(client: Anthropic, target: Target) -> None:
    message = client.messages.parse(**asked(target, tokens=60), output_format=Capital)
    assert isinstance(message.parsed_output, Capital)


def test_a_tool_that_has_to_be_called(client: Anthropic, target: Target) -> None:
    """Worked examples here too: this engine forces no call with a template that it does not know."""
    told = [*weathers(1, "Rome"), *weathers(2, "Berlin"), weathers(3, "Paris")[0]]
    request = asked(target, *told, tools=[TOOL], tool_choice={"type": "tool", "name": "get_weather"}, tokens=40)
    if not target.can_force_a_tool:
        with pytest.raises(BadRequestError, match="tool_choice"):
            client.messages.create(**request)
        return
    (call,) = client.messages.create(**request).content
    assert call.type == "tool_use"
    assert call.input == {"city": "Paris"}


def test_a_picture_for_a_model_of_words_is_refused(client: Anthropic, target: Target) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
    with pytest.raises(BadRequestError, match="image"):
        client.messages.create(**asked(target, {"role": "user", "content": [image]}))


def test_a_picture_is_read(client: Anthropic, target: Target) -> None:
    words = {"type": "text", "text": WHAT}
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
    read = []
    for parts in ([words], [words, picture]):
        said = {"role": "user", "content": parts}
        message = client.messages.create(**asked(target, said, tokens=4) | {"model": target.see})
        assert message.content
        read.append(message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0))
    assert read[1] - read[0] >= eyes.PATCHES


def test_tokens_are_counted(client: Anthropic, target: Target) -> None:
    messages: Any = [{"role": "user", "content": QUESTION}]
    counted = client.messages.count_tokens(model=target.chat, messages=messages, system=SYSTEM)
    assert counted.input_tokens > 8
    if target.counts_by_engine:
        usage = client.messages.create(**asked(target, system=SYSTEM, tokens=1)).usage
        assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_the_models(client: Anthropic, target: Target) -> None:
    assert {target.chat, target.embed} <= {model.id for model in client.models.list()}
    model = client.models.retrieve(target.chat)
    assert (model.id, model.type) == (target.chat, "model")
    assert model.display_name
    assert model.created_at.year >= 1970
    with pytest.raises(NotFoundError):
        client.models.retrieve("nobody")


def test_errors(client: Anthropic, target: Target) -> None:
    with pytest.raises(NotFoundError, match=target.chat) as unknown:
        client.messages.create(**asked(target) | {"model": "nobody"})
    assert unknown.value.type == "not_found_error"
    with pytest.raises(BadRequestError, match=r"messages\.0\.content|messages\[0\]\.content") as malformed:
        client.messages.create(**asked(target, {"role": "user", "content": 7}))
    assert malformed.value.type == "invalid_request_error"
    with pytest.raises(BadRequestError, match="prompt is too long"):
        client.messages.create(**asked(target, {"role": "user", "content": TOO_LONG}))
    with pytest.raises(AuthenticationError) as stranger:
        client.with_options(api_key=WRONG_KEY).messages.create(**asked(target))
    assert stranger.value.type == "authentication_error"
