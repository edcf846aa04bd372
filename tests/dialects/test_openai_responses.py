"""OpenAI's Responses: what is read of a request, what is refused and where, what is seen in passing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dialects.conversations import HEAD, asked, fold
from dialects.vendors import check_reply, events
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from moltbot_edge.api import Impression, Overloaded, Prompt, Usage
from moltbot_edge.core.chat import (
    ChatRequest,
    File,
    Format,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from moltbot_edge.core.errors import CallerError, InvalidReply, InvalidRequest, TruncatedReply
from moltbot_edge.core.reply import (
    Began,
    Broke,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningSealed,
    RefusalDelta,
    TextDelta,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)
from moltbot_edge.dialects import responses_reply
from moltbot_edge.dialects.openai_responses import OpenAIResponses

RECORDINGS = Path(__file__).parents[1] / "recordings" / "openai_responses"
PATH = "/v1/responses"
DIALECT = OpenAIResponses()
CODEC = DIALECT.codec()
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}


def read(**fields: Any) -> ChatRequest:
    return CODEC.read_request(PATH, json.dumps({"model": "m", "input": "hi", **fields}).encode())


def messages(*items: Any) -> tuple[Message, ...]:
    return read(input=list(items)).messages


def said(**fields: Any) -> dict[str, Any]:
    """What is written of a request that asks for a greeting, and for this."""
    request = ChatRequest(model="m", messages=(Message(Role.USER, (Text(text="hi"),)),), **fields)
    written: dict[str, Any] = json.loads(CODEC.write_request(request).body)
    return written


# Requests, read.


def test_a_text_is_a_users_message_and_instructions_are_the_systems() -> None:
    assert read(instructions="Be short.").messages == (
        Message(Role.SYSTEM, (Text(text="Be short."),)),
        Message(Role.USER, (Text(text="hi"),)),
    )


def test_what_one_turn_of_the_assistants_holds_is_one_message() -> None:
    assert messages(
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{"},
        {"type": "function_call_output", "call_id": "a", "output": "one"},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "two"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
    ) == (
        Message(Role.USER, (Text(text="hi"),)),
        Message(
            Role.ASSISTANT,
            (
                Reasoning(text="hm", id="rs_1"),
                Text(text="I look."),
                ToolCall(id="a", name="f"),
                ToolCall(id="b", name="f", arguments="{"),
            ),
        ),
        Message(
            Role.TOOL, (ToolResult(id="a", parts=(Text(text="one"),)), ToolResult(id="b", parts=(Text(text="two"),)))
        ),
        Message(Role.ASSISTANT, (Refusal(text="No."),)),
        Message(Role.SYSTEM, (Text(text="Be kind."),)),
    )


@pytest.mark.parametrize(
    ("part", "read_as"),
    [
        ({"type": "input_image", "image_url": "https://a.example/b.png"}, Image(url="https://a.example/b.png")),
        (
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
            Image(media_type="image/png", data="AAAA", detail="low"),
        ),
        ({"type": "input_image", "file_id": "file-1", "detail": "auto"}, Image(id="file-1")),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            File(media_type="application/pdf", data="AAAA", name="a.pdf"),
        ),
        ({"type": "input_file", "file_url": "https://a.example/b.pdf"}, File(url="https://a.example/b.pdf")),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            File(media_type="audio/mpeg", data="AAAA"),
        ),
        (
            {"type": "input_text", "text": "hi", "prompt_cache_breakpoint": {"mode": "explicit"}},
            Text(text="hi", cached=True),
        ),
    ],
)
def test_parts(part: Any, read_as: Any) -> None:
    assert messages({"role": "user", "content": [part]}) == (Message(Role.USER, (read_as,)),)


def test_a_seal_goes_back_to_where_it_is_from() -> None:
    seals = ("gAAA", "anthropic-messages:EpQB", "anthropic-messages:redacted:EpQB")
    items = [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed} for sealed in seals]
    (message,) = messages(*items)
    assert message.parts == (
        Reasoning(seal="gAAA", origin="openai-responses", id="rs_1"),
        Reasoning(seal="EpQB", origin="anthropic-messages", id="rs_1"),
        Reasoning(seal="EpQB", origin="anthropic-messages", redacted=True, id="rs_1"),
    )


def test_wishes() -> None:
    request = read(
        tools=[FUNCTION, FUNCTION | {"name": "g", "strict": True, "description": "G"}],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"a": 1}}, "verbosity": "low"},
        reasoning={"effort": "high", "summary": "concise"},
        max_output_tokens=7,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=3,
        metadata={"a": "b"},
        store=True,
        stream_options={"include_obfuscation": False},
        truncation="auto",
    )
    assert request.tools == (Tool("g", "G", b'{"type": "object"}', True),)
    assert request.tool_choice == ToolChoice(ToolMode.REQUIRED)
    assert request.format == Format(b'{"a": 1}', "n")
    assert request.thinking == Thinking(effort="high", shown=True)
    assert (request.max_tokens, request.logprobs, request.top_logprobs) == (7, True, 3)
    assert request.extras == {"text.verbosity": b'"low"', "metadata": b'{"a": "b"}', "truncation": b'"auto"'}
    assert request.vital == ()


def test_what_only_its_maker_has_is_vital() -> None:
    request = read(tools=[FUNCTION, {"type": "web_search"}], tool_choice={"type": "web_search"})
    assert request.vital == ("tools[1]", "tool_choice")
    written = json.loads(CODEC.write_request(request).body)
    assert written["tools"][1] == {"type": "web_search"}
    assert written["tool_choice"] == {"type": "web_search"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": 1}, "input"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "wizard", "content": "hi"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"type": "no"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"text": "hi"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "a"}]}, "input[0].output"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": "hi"}, {"type": "computer_call_output", "output": {}}]},
            "input[1].type",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [FUNCTION | {"parameters": []}]}, "tools[0].parameters"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "g"}, "tools": [FUNCTION]}, "tool_choice.name"),
        (
            {
                "tools": [FUNCTION],
                "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [FUNCTION | {"name": "g"}]},
            },
            "tool_choice.tools[0]",
        ),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(CallerError) as refused:
        read(**fields)
    assert refused.value.param == param


def test_a_body_of_nothing_but_objects_is_not_read() -> None:
    body = b'{"model":"m","input":[' + b"{}," * 100_001 + b"{}]}"
    with pytest.raises(InvalidRequest, match="objects"):
        CODEC.read_request(PATH, body)


# Requests, written.


def test_nothing_is_to_be_kept_by_an_upstream() -> None:
    assert said()["store"] is False


def test_a_function_is_strict_only_where_somebody_said_so() -> None:
    assert [tool["strict"] for tool in said(tools=(Tool("f"), Tool("g", strict=True)))["tools"]] == [False, True]


@pytest.mark.parametrize(("tokens", "effort"), [(1024, "low"), (8192, "medium"), (30_000, "high")])
def test_a_budget_is_an_effort(tokens: int, effort: str) -> None:
    wanted = said(thinking=Thinking(budget_tokens=tokens))
    assert wanted["reasoning"] == {"effort": effort}
    assert wanted["include"] == ["reasoning.encrypted_content"]


def test_what_there_are_no_words_for_is_dropped_by_name() -> None:
    request = ChatRequest(
        model="m",
        messages=(
            Message(Role.USER, (Text(text="hi", cached=True),), "me"),
            Message(Role.TOOL, (ToolResult(id="a", failed=True),)),
        ),
        top_k=3,
        seed=1,
        keep_alive=5.0,
        extras={"grammar": b'"x"', "metadata": b'{"a": "b"}'},
        origin="openai-chat",
    )
    outgoing = CODEC.write_request(request)
    assert set(outgoing.dropped) == {
        *("messages.name", "cache_control", "is_error", "top_k", "seed", "keep_alive", "grammar")
    }
    assert json.loads(outgoing.body)["metadata"] == {"a": "b"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": ("END",)}, "stop"),
        ({"choices": 2}, "n"),
        ({"vital": ("suffix",), "origin": "ollama"}, "suffix"),
    ],
)
def test_what_would_change_the_answer_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        said(**fields)
    assert refused.value.param == param


# Replies.


def written(*told: Any, stream: bool = True, **wishes: Any) -> bytes:
    writer = CODEC.event_writer(asked("openai-responses", stream, **wishes), HEAD, PATH)
    return writer.write(told) + writer.end()


def kinds(body: bytes) -> list[str]:
    return [json.loads(event)["type"].removeprefix("response.") for event in events("openai-responses", body)]


def test_a_stream_in_its_order() -> None:
    body = written(Began("x", "y"), TextDelta("hi"), Finished(FinishReason.STOP), UsageSaid(Usage(3, 2)))
    assert kinds(body) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    last = json.loads(list(events("openai-responses", body))[-1])["response"]
    assert (last["id"], last["model"], last["usage"]["total_tokens"]) == (f"resp_{HEAD.id}", "model", 5)


@pytest.mark.parametrize(("shown", "kind"), [(None, "reasoning_text"), (True, "reasoning_summary_text")])
def test_thoughts_are_where_the_caller_looks(shown: bool | None, kind: str) -> None:
    body = written(
        Began(), ReasoningDelta("hm"), TextDelta("hi"), Finished(FinishReason.STOP), thinking=Thinking(shown=shown)
    )
    check_reply("openai-responses", body, streamed=True)
    assert f"{kind}.delta" in kinds(body)


def test_a_foreign_seal_says_where_it_is_from() -> None:
    sealed = ReasoningSealed("EpQB", "anthropic-messages", redacted=True)
    (item, *_) = json.loads(written(Began(), sealed, TextDelta("hi"), Finished(FinishReason.STOP), stream=False))[
        "output"
    ]
    assert item["encrypted_content"] == "anthropic-messages:redacted:EpQB"


@pytest.mark.parametrize(
    ("told", "status", "reason"),
    [
        ([TextDelta("hi"), Finished(FinishReason.LENGTH)], "incomplete", "max_output_tokens"),
        ([Finished(FinishReason.REFUSED)], "incomplete", "content_filter"),
        ([RefusalDelta("no"), Finished(FinishReason.REFUSED)], "completed", None),
    ],
)
def test_how_it_ended(told: list[Any], status: str, reason: str | None) -> None:
    response = json.loads(written(Began(), *told, stream=False))
    assert response["status"] == status
    assert (response["incomplete_details"] or {}).get("reason") == reason
    assert kinds(written(Began(), *told))[-1] == status


def test_a_call_without_an_id_gets_one() -> None:
    (item,) = json.loads(written(Began(), ToolCallBegan(0, "", "f"), Finished(FinishReason.TOOL_CALLS), stream=False))[
        "output"
    ]
    assert item["call_id"].startswith("call_")
    assert item["arguments"] == "{}"


def test_an_upstream_that_breaks_is_a_response_that_failed() -> None:
    body = written(Began(), TextDelta("h"), Broke("out of memory"))
    check_reply("openai-responses", body, streamed=True)
    assert kinds(body)[-1] == "failed"


def test_a_stream_that_fails_ends_with_an_event_that_clients_raise_on() -> None:
    writer = CODEC.event_writer(asked("openai-responses", True), HEAD, PATH)
    body = writer.write([Began(), TextDelta("h")]) + writer.fail(Overloaded("no room"))
    *_, last = events("openai-responses", body)
    event = TypeAdapter[Any](ResponseStreamEvent).validate_json(last, strict=True)
    assert (event.type, event.message, event.sequence_number) == ("error", "no room", 5)
    assert json.loads(last)["error"]["message"] == "no room"
    assert writer.end() == b""


def test_a_reply_that_never_ends_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses_reply, "MOST_CHARS", 10)
    with pytest.raises(InvalidReply, match="longer"):
        written(Began(), *[TextDelta("word")] * 3)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'data: {"error":{"code":500,"message":"gone"}}\n\n', Broke("gone", "500")),
        (b'data: {"type":"error","message":"gone","code":"x"}\n\n', Broke("gone", "x")),
        (b'data: {"type":"response.failed","response":{"error":{"message":"gone"}}}\n\n', Broke("gone")),
    ],
)
def test_an_error_in_a_stream_is_heard(body: bytes, expected: Broke) -> None:
    reader = CODEC.event_reader(True)
    assert [*reader.feed(body), *reader.end()][-1] == expected


def test_a_server_that_says_all_at_the_end_is_heard() -> None:
    response = json.loads((RECORDINGS / "tools.json").read_bytes())
    body = b"data: " + json.dumps({"type": "response.completed", "response": response}).encode() + b"\n\n"
    reader = CODEC.event_reader(True)
    assert [name for _, name, _ in fold([*reader.feed(body), *reader.end()]).calls] == ["get_weather"] * 2


@pytest.mark.parametrize(
    ("body", "error"),
    [(b"{}", InvalidReply), (b"[]", InvalidReply), (b'{"output": [', TruncatedReply), (b"<html>", InvalidReply)],
)
def test_what_is_no_reply_is_said_to_be_none(body: bytes, error: type[Exception]) -> None:
    reader = CODEC.event_reader(False)
    reader.feed(body)
    with pytest.raises(error):
        reader.end()


# In passing.


@pytest.mark.parametrize("name", ["plain.sse", "plain.json", "plain_llama_server.sse"])
def test_usage_is_read_in_passing(name: str) -> None:
    reader = DIALECT.reader(name.endswith(".sse"))
    reader.feed((RECORDINGS / name).read_bytes())
    reader.end()
    assert reader.usage is not None
    assert reader.usage.output_tokens > 0
    assert (reader.timings is not None) == ("llama" in name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain.sse", Impression()),
        ("tools.json", Impression()),
        ("cut_llama_server.sse", None),
    ],
)
def test_the_form_of_a_reply(name: str, expected: Impression | None) -> None:
    observer = DIALECT.observer(name.endswith(".sse"))
    observer.feed((RECORDINGS / name).read_bytes())
    assert observer.impression() == expected


def test_a_call_that_is_no_json_and_a_reply_that_says_nothing_show() -> None:
    for told, expected in (
        ([ToolCallBegan(0, "a", "f"), ToolCallDelta(0, "{")], Impression(broken_call=True)),
        ([], Impression(empty=True)),
    ):
        observer = DIALECT.observer(True)
        observer.feed(written(Began("x"), *told, Finished(FinishReason.STOP)))
        assert observer.impression() == expected
        assert observer.reply_id == f"resp_{HEAD.id}"


def test_what_is_asked() -> None:
    assert DIALECT.prompt(b'{"input": "hi"}') == Prompt("hi", chars=2, turns=1, messages=1)
    items = [
        {"role": "user", "content": "one"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "two"}, {"type": "input_image", "image_url": "x"}]},
    ]
    body = json.dumps({"input": items, "tools": [{}], "max_output_tokens": 3}).encode()
    assert DIALECT.prompt(body) == Prompt(
        "two", before="one", chars=3, turns=2, messages=3, tools=True, images=True, limited=True
    )
    assert DIALECT.prompt(b'{"input": 1}') == Prompt()
