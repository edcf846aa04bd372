"""LangChain's clients, which stand on the others and ask in their own ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from clients import eyes
from clients.target import KEY, PICTURE, QUESTION, SYSTEM, TIMEOUT_S, TOO_LONG, WHAT, WRONG_KEY, Capital, Target
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

Made = Callable[..., BaseChatModel]


def openai(target: Target, *, model: str = "", key: str = KEY, tokens: int = 24) -> BaseChatModel:
    return ChatOpenAI(
        model=model or target.chat,
        base_url=f"{target.url}/v1",
        api_key=key,
        temperature=0,
        max_tokens=tokens,
        max_retries=0,
        timeout=TIMEOUT_S,
        stream_usage=True,
    )


def responses(target: Target, *, model: str = "", key: str = KEY, tokens: int = 24) -> BaseChatModel:
    return ChatOpenAI(
        model=model or target.chat,
        base_url=f"{target.url}/v1",
        api_key=key,
        temperature=0,
        max_tokens=max(tokens, 16),
        max_retries=0,
        timeout=TIMEOUT_S,
        use_responses_api=True,
    )


def anthropic(target: Target, *, model: str = "", key: str = KEY, tokens: int = 24) -> BaseChatModel:
    return ChatAnthropic(
        model=model or target.chat,
        base_url=target.url,
        api_key=key,
        temperature=0,
        max_tokens=tokens,
        max_retries=0,
        timeout=TIMEOUT_S,
    )


def ollama(target: Target, *, model: str = "", key: str = KEY, tokens: int = 24) -> BaseChatModel:
    return ChatOllama(
        model=model or target.chat,
        base_url=target.url,
        client_kwargs={"headers": {"Authorization": f"Bearer {key}"}, "timeout": TIMEOUT_S},
        temperature=0,
        num_predict=tokens,
    )


each = pytest.mark.parametrize("made", [openai, responses, anthropic, ollama])


def weather(city: str) -> str:
    """The weather of a city."""
    return f"snow in {city}"


get_weather = tool("get_weather")(weather)


def worked(*cities: str) -> list[Any]:
    calls = [{"name": "get_weather", "args": {"city": city}, "id": f"call_1{city}"} for city in cities]
    return [
        HumanMessage(f"What is the weather in {' and in '.join(cities)}?"),
        AIMessage("", tool_calls=calls),
        *(ToolMessage("rain", tool_call_id=call["id"], name="get_weather") for call in calls),
    ]


@each
def test_a_conversation(target: Target, made: Made) -> None:
    first = [SystemMessage(SYSTEM), HumanMessage(QUESTION)]
    reply = made(target).invoke(first)
    assert "Paris" in reply.text
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["output_tokens"] > 3
    then = made(target, tokens=4).invoke([*first, reply, HumanMessage("Thank you.")])
    assert then.text


def test_a_conversation_that_is_kept(target: Target) -> None:
    model = ChatOpenAI(
        model=target.chat,
        base_url=f"{target.url}/v1",
        api_key=KEY,
        temperature=0,
        max_tokens=16,
        timeout=TIMEOUT_S,
        use_responses_api=True,
        use_previous_response_id=True,
    )
    first = [HumanMessage(QUESTION)]
    reply = model.invoke(first)
    then = model.invoke([*first, reply, HumanMessage("And of Italy?")])
    assert reply.response_metadata["id"] != then.response_metadata["id"]
    assert reply.usage_metadata is not None
    assert then.usage_metadata is not None
    assert then.usage_metadata["input_tokens"] > reply.usage_metadata["input_tokens"]


@each
def test_a_stream(target: Target, made: Made) -> None:
    pieces = list(made(target).stream(QUESTION))
    assert sum(bool(piece.text) for piece in pieces) > 1
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert isinstance(whole, AIMessageChunk)
    assert "Paris" in whole.text
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 3


@each
def test_a_tool_and_what_follows_from_it(target: Target, made: Made) -> None:
    told = [*worked("Rome"), *worked("Berlin"), worked("Paris")[0]]
    model = made(target, tokens=40).bind_tools([get_weather])
    whole = None
    for piece in model.stream(told):
        whole = piece if whole is None else whole + piece
    assert isinstance(whole, AIMessageChunk)
    (call,) = whole.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    result = get_weather.invoke(call)
    assert made(target, tokens=4).bind_tools([get_weather]).invoke([*told, whole, result]).usage_metadata


@each
def test_a_structured_answer(target: Target, made: Made) -> None:
    answer = made(target, tokens=60).with_structured_output(Capital, method="json_schema").invoke(QUESTION)
    assert isinstance(answer, Capital)


@each
def test_a_picture_for_a_model_of_words_is_refused(target: Target, made: Made) -> None:
    said = [
        {"type": "text", "text": WHAT},
        {"type": "image", "base64": PICTURE, "mime_type": "image/png"},
    ]
    with pytest.raises(Exception, match="image"):
        made(target).invoke([HumanMessage(said)])


@each
def test_a_picture_is_read(target: Target, made: Made) -> None:
    picture = {"type": "image", "base64": PICTURE, "mime_type": "image/png"}
    reply = made(target, model=target.see, tokens=4).invoke([HumanMessage([{"type": "text", "text": WHAT}, picture])])
    assert reply.text
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["input_tokens"] > eyes.PATCHES


def test_embeddings(target: Target) -> None:
    if not target.embeds:
        return
    by_openai = OpenAIEmbeddings(
        model=target.embed,
        base_url=f"{target.url}/v1",
        api_key=KEY,
        check_embedding_ctx_length=False,  # else it sends the numbers of OpenAI's own tokens
    )
    by_ollama = OllamaEmbeddings(
        model=target.embed, base_url=target.url, client_kwargs={"headers": {"Authorization": f"Bearer {KEY}"}}
    )
    for client in (by_openai, by_ollama):
        first, second = client.embed_documents(["a cat", "a dog"])
        assert len(first) == len(second) == 576
        assert client.embed_query("a cat") == pytest.approx(first, abs=1e-4)


@each
def test_errors(target: Target, made: Made) -> None:
    for refused, why in (
        (made(target, model="nobody"), "nobody"),
        (made(target, key=WRONG_KEY), "key"),
    ):
        with pytest.raises(Exception, match=why):
            refused.invoke(QUESTION)
    with pytest.raises(Exception, match=r"context|too long"):
        made(target).invoke(TOO_LONG)
