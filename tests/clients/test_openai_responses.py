"""OpenAI's own client for Python: its Responses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
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
    arguments,
)
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI
from openai.types.responses import ResponseFunctionToolCall

TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": WEATHER,
    "strict": False,
}


@pytest.fixture(scope="module")
def client(target: Target) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{target.url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_S) as made:
        yield made


def asked(target: Target, said: Any = QUESTION, tokens: int = 24, **more: Any) -> dict[str, Any]:
    return {"model": target.chat, "input": said, "temperature": 0, "max_output_tokens": tokens, **more}


def weathers(one: str, other: str, number: int) -> list[Any]:
    """A worked example: a small model calls two tools when it has just seen how."""
    calls = {f"call_{number}{city}": city for city in (one, other)}
    return [
        {"role": "user", "content": f"What is the weather in {one} and in {other}?"},
        *(
            {"type": "function_call", "call_id": id_, "name": "get_weather", "arguments": arguments(city)}
            for id_, city in calls.items()
        ),
        *({"type": "function_call_output", "call_id": id_, "output": "rain"} for id_ in calls),
    ]


BOTH: Any = [
    *weathers("Rome", "Oslo", 1),
    *weathers("Lima", "Cairo", 2),
    {"role": "user", "content": "What is the weather in Paris and in Berlin?"},
]


def test_a_conversation(client: OpenAI, target: Target) -> None:
    response = client.responses.create(**asked(target, instructions=SYSTEM))
    assert "Paris" in response.output_text
    assert response.model in target.names
    assert (response.object, response.status) == ("response", "completed")
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 8
    given: Any = [item.to_dict() for item in response.output]
    then = [{"role": "user", "content": QUESTION}, *given, {"role": "user", "content": "Thank you."}]
    assert client.responses.create(**asked(target, then, 16, instructions=SYSTEM)).output_text


def test_a_stream_says_the_same(client: OpenAI, target: Target) -> None:
    whole = client.responses.create(**asked(target))
    with client.responses.stream(**asked(target)) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert sum(event.type == "response.output_text.delta" for event in events) > 1
    assert final.output_text == whole.output_text
    assert whole.usage is not None
    assert final.usage is not None
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_tools_in_parallel_and_what_follows(client: OpenAI, target: Target) -> None:
    request = asked(target, BOTH, 80, tools=[TOOL], parallel_tool_calls=True)
    with client.responses.stream(**request) as stream:
        response = stream.get_final_response()
    calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
    assert [json.loads(call.arguments) for call in calls] == [{"city": "Paris"}, {"city": "Berlin"}]
    assert len({call.call_id for call in calls}) == 2
    given: Any = [item.to_dict() for item in response.output]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "snow"} for call in calls]
    assert client.responses.create(**asked(target, [*BOTH, *given, *results], 16)).output_text


def test_a_conversation_that_is_kept(client: OpenAI, target: Target) -> None:
    first = client.responses.create(**asked(target, instructions=SYSTEM, metadata={"of": "these tests"}))
    with client.responses.stream(**asked(target, "And of Italy?", previous_response_id=first.id)) as stream:
        second = stream.get_final_response()
    third = client.responses.create(**asked(target, "Thank you.", 16, previous_response_id=second.id))
    assert first.usage is not None
    assert second.usage is not None
    assert third.usage is not None
    assert first.usage.input_tokens < second.usage.input_tokens < third.usage.input_tokens
    assert (second.previous_response_id, third.previous_response_id) == (first.id, second.id)
    again = client.responses.retrieve(first.id)
    assert (again.id, again.output_text, again.metadata) == (first.id, first.output_text, {"of": "these tests"})
    streamed = client.responses.retrieve(second.id)
    assert (streamed.output_text, streamed.usage) == (second.output_text, second.usage)
    told = list(client.responses.input_items.list(third.id, order="asc", limit=2))
    assert [item.type for item in told] == ["message"] * 5
    client.responses.delete(first.id)
    with pytest.raises(NotFoundError, match=first.id):
        client.responses.retrieve(first.id)
    with pytest.raises(BadRequestError) as gone:
        client.responses.create(**asked(target, "And?", previous_response_id=first.id))
    assert gone.value.code == "previous_response_not_found"


def test_a_result_goes_after_its_call_by_the_response_s_id(client: OpenAI, target: Target) -> None:
    first = client.responses.create(**asked(target, BOTH, 80, tools=[TOOL], parallel_tool_calls=True))
    calls = [item for item in first.output if isinstance(item, ResponseFunctionToolCall)]
    assert len(calls) == 2
    results: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "snow"} for call in calls]
    second = client.responses.create(**asked(target, results, 16, previous_response_id=first.id))
    assert second.output_text
    given = list(client.responses.input_items.list(second.id, limit=2))
    assert {item.type for item in given[:2]} == {"function_call_output"}


def test_conversations(client: OpenAI, target: Target) -> None:
    made = client.conversations.create(items=[{"role": "developer", "content": SYSTEM}], metadata={"topic": "capitals"})
    assert client.conversations.retrieve(made.id) == made
    first = client.responses.create(**asked(target, conversation=made.id))
    assert first.conversation is not None
    assert first.conversation.id == made.id
    added = client.conversations.items.create(made.id, items=[{"role": "user", "content": "A note."}])
    second = client.responses.create(**asked(target, "And of Italy?", 16, conversation={"id": made.id}))
    assert first.usage is not None
    assert second.usage is not None
    assert first.usage.input_tokens < second.usage.input_tokens
    items = list(client.conversations.items.list(made.id, order="asc", limit=2))
    assert [item.type for item in items] == ["message"] * 6
    note = added.data[0].id
    assert note is not None
    assert client.conversations.items.retrieve(note, conversation_id=made.id) == added.data[0]
    client.conversations.items.delete(note, conversation_id=made.id)
    assert len(list(client.conversations.items.list(made.id))) == 5
    assert client.conversations.update(made.id, metadata={}).metadata == {}
    assert client.conversations.delete(made.id).deleted
    with pytest.raises(NotFoundError):
        client.conversations.retrieve(made.id)
    with pytest.raises(NotFoundError):
        client.responses.create(**asked(target, conversation=made.id))


def test_a_structured_answer(client: OpenAI, target: Target) -> None:
    response = client.responses.parse(**asked(target, tokens=60), text_format=Capital)
    assert isinstance(response.output_parsed, Capital)


def test_a_picture_for_a_model_of_words_is_refused(client: OpenAI, target: Target) -> None:
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"}
    with pytest.raises(BadRequestError, match="image"):
        client.responses.create(**asked(target, [{"role": "user", "content": [image]}]))


def test_a_picture_is_read(client: OpenAI, target: Target) -> None:
    words = {"type": "input_text", "text": WHAT}
    picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"}
    read = []
    for parts in ([words], [words, picture]):
        response = client.responses.create(
            **asked(target, [{"role": "user", "content": parts}], 16) | {"model": target.see}
        )
        assert response.output_text
        assert response.usage is not None
        read.append(response.usage.input_tokens)
    assert read[1] - read[0] >= eyes.PATCHES


def test_errors(client: OpenAI, target: Target) -> None:
    with pytest.raises(NotFoundError, match=target.chat):
        client.responses.create(**asked(target) | {"model": "nobody"})
    with pytest.raises(BadRequestError) as malformed:
        client.responses.create(**asked(target, [{"role": "user", "content": 7}]))
    assert malformed.value.param == "input[0].content"
    with pytest.raises(BadRequestError, match="context") as long:
        client.responses.create(**asked(target, TOO_LONG))
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(AuthenticationError):
        client.with_options(api_key=WRONG_KEY).responses.create(**asked(target))
