"""OpenAI's chat, read and written: the requests, replies and streams of those who send it, and each field's place."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from moltbot_edge.core.chat import (
    ChatRequest,
    File,
    Format,
    Image,
    Message,
    Reasoning,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from moltbot_edge.core.dialect import ReplyHead
from moltbot_edge.core.errors import InvalidReply, InvalidRequest, TruncatedReply
from moltbot_edge.core.events import Usage
from moltbot_edge.core.reply import (
    Began,
    Broke,
    Event,
    Finished,
    FinishReason,
    LogProbs,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogProb,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)
from moltbot_edge.dialects.openai_codec import OpenAICodec
from moltbot_edge.dialects.openai_request import _Wire

RECORDINGS = Path(__file__).parents[1] / "recordings" / "openai_chat"
PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"
CODEC = OpenAICodec()
HEAD = ReplyHead("1", 7, "chat")
USER = {"role": "user", "content": "hi"}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f"}}


def read(*messages: Any, **fields: Any) -> ChatRequest:
    return CODEC.read_request("", json.dumps({"model": "chat", "messages": messages or [USER]} | fields).encode())


def written(request: ChatRequest) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(CODEC.write_request(request).body)
    return said


def events(*chunks: Any, done: bool = True) -> list[Event]:
    """Of a stream of these chunks."""
    reader = CODEC.event_reader(streamed=True)
    sent = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    found = [event for data in sent for event in reader.feed(data)]
    return found + (reader.feed(b"data: [DONE]\n\n") if done else []) + reader.end()


def whole(reply: Any) -> list[Event]:
    reader = CODEC.event_reader(streamed=False)
    reader.feed(json.dumps(reply).encode())
    return reader.end()


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


# Requests.


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "oracle", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [USER, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": 3}}]}]},
         "messages[1].content[0].image_url.url"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "a"}]}]},
         "messages[1].tool_calls[0].function"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 3}}]}, "tools[0].function.parameters"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
         "tool_choice.function.name"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": 3}}},
         "response_format.json_schema.schema"),
        ({"stop": [3]}, "stop[0]"),
        ({"logit_bias": {"1": "x"}}, "logit_bias[...]"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_named_by_its_path(fields: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read(**fields)
    assert raised.value.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model":"\xff"}', b'{"messages":' + b"[" * 100_000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        CODEC.read_request("", body)


def test_legacy_functions_are_tools() -> None:
    request = read(
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "3"},
        functions=[{"name": "f"}],
        function_call={"name": "f"},
    )
    _, answer, result = request.messages
    [call] = answer.parts
    assert isinstance(call, ToolCall)
    assert result == Message(Role.TOOL, (ToolResult(id=call.id, parts=(Text(text="3"),), name="f"),))
    assert request.tools == (Tool("f"),)
    assert request.tool_choice == ToolChoice(name="f")


def test_a_choice_of_some_tools_leaves_the_others_out() -> None:
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}}
    other = {"type": "function", "function": {"name": "g"}}
    request = read(tools=[TOOL, other], tool_choice=allowed)
    assert request.tools == (Tool("f"),)
    assert request.tool_choice == ToolChoice(ToolMode.REQUIRED)


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({"reasoning_effort": "low"}, Thinking(effort="low")),
        ({"reasoning_effort": "none"}, Thinking(on=False, effort="none")),
        ({"reasoning": {"max_tokens": 9, "exclude": True}}, Thinking(budget_tokens=9, shown=False)),
        ({"chat_template_kwargs": {"enable_thinking": False}}, Thinking(on=False)),
        ({"thinking_budget_tokens": 0}, Thinking(on=False, budget_tokens=0)),
        ({"chat_template_kwargs": {"x": [1]}}, None),
    ],
)
def test_a_wish_for_thinking_is_read_in_each_spelling(fields: Any, thinking: Thinking | None) -> None:
    assert read(**fields).thinking == thinking


def test_parts_of_every_kind_are_read() -> None:
    parts = [
        {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": "http://x/y.png"},
        {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "mp3"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,CCCC", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
    [message] = read({"role": "user", "content": parts, "name": "Bob"}).messages
    assert message == Message(
        Role.USER,
        (
            Text(text="look", cached=True),
            Image(media_type="image/png", data="AAAA", detail="low"),
            Image(url="http://x/y.png"),
            File(media_type="audio/mp3", data="BBBB"),
            File(media_type="application/pdf", data="CCCC", name="a.pdf"),
            File(id="file-1"),
        ),
        "Bob",
    )


def test_results_in_a_row_are_one_message_and_reasoning_stands_first() -> None:
    results = [{"role": "tool", "tool_call_id": one, "content": one} for one in "ab"]
    calls = [CALL, CALL | {"id": "b"}]
    request = read(
        USER, {"role": "assistant", "reasoning_content": "hm", "content": "so", "tool_calls": calls}, *results
    )
    _, answer, answered = request.messages
    assert answer.parts[:2] == (Reasoning(text="hm"), Text(text="so"))
    assert [part.id for part in answered.parts if isinstance(part, ToolResult)] == ["a", "b"]
    assert [message["role"] for message in written(request)["messages"]] == ["user", "assistant", "tool", "tool"]


def test_what_only_its_upstream_knows_is_kept_and_what_is_ours_is_not() -> None:
    request = read(id_slot=3, cache_prompt=True, session="s", fallbacks=["x"], grammar="g", nothing=None)
    assert dict(request.extras) == {"id_slot": b"3", "cache_prompt": b"true", "grammar": b'"g"'}
    assert request.vital == ("grammar",)
    assert written(request)["id_slot"] == 3


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("qwen3:4b", {"max_tokens": 9, "top_k": 5, "thinking_budget_tokens": 4096}),
        ("gpt-4o", {"max_completion_tokens": 9}),
        ("openai/gpt-5-mini", {"max_completion_tokens": 9, "reasoning_effort": "medium"}),
        ("gpt-oss-20b", {"max_tokens": 9, "top_k": 5, "reasoning_effort": "medium"}),
    ],
)
def test_each_model_is_asked_in_the_words_it_takes(model: str, said: dict[str, Any]) -> None:
    request = replace(read(max_tokens=9, top_k=5), model=model, thinking=Thinking(budget_tokens=4096))
    body = written(request)
    del body["model"], body["messages"]
    assert body == said


def test_what_another_dialect_alone_knows_is_dropped_by_name() -> None:
    message = Message(Role.TOOL, (ToolResult(id="a", parts=(Text(text="x", cached=False),), failed=True, cached=True),))
    request = ChatRequest(
        model="m",
        messages=(message,),
        keep_alive=3,
        extras={"container": b"1"},
        origin="anthropic-messages",
        format=Format(),
    )
    outgoing = CODEC.write_request(request)
    assert set(outgoing.dropped) == {"cache_control", "is_error", "keep_alive", "container"}
    assert b"container" not in outgoing.body
    with pytest.raises(InvalidRequest) as raised:
        written(replace(request, messages=(Message(Role.USER, (File(url="http://x"),)),)))
    assert raised.value.param == "messages[0].content[0]"


def test_every_field_that_is_read_stands_in_the_table() -> None:
    section = PAGE.read_text().split("## OpenAI's chat")[1].split("\n## ")[0]
    named = set(re.findall(r"`([a-z_]+)", section))
    assert set(_Wire.__struct_fields__) - {"model", "stream", "stream_options"} <= named


# Replies.


def test_calls_come_in_each_form_that_servers_have() -> None:
    began, first, second = ToolCallBegan(0, "a", "f"), ToolCallDelta(0, '{"x":'), ToolCallDelta(0, "1}")
    pieces = [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":'}}]
    rest = [{"index": 0, "function": {"arguments": "1}"}}]
    end = [Finished(FinishReason.TOOL_CALLS)]
    assert events(delta(tool_calls=pieces), delta("tool_calls", tool_calls=rest))[1:] == [began, first, second, *end]
    # Without an index, and a finish reason that is none of a call's.
    bare = [{"function": {"name": "f", "arguments": {"x": 1}}}, {"function": {"name": "g"}}]
    assert events(delta("stop", tool_calls=bare))[1:] == [
        ToolCallBegan(0, "call_x_0", "f"),
        ToolCallDelta(0, '{"x":1}'),
        ToolCallBegan(1, "call_x_1", "g"),
        *end,
    ]
    # Two calls under one index.
    same = [{"index": 0, "id": one, "function": {"name": "f", "arguments": "{}"}} for one in "ab"]
    ids = [event.id for event in events(*[delta(tool_calls=[one]) for one in same]) if isinstance(event, ToolCallBegan)]
    assert ids == ["a", "b"]
    # The name comes after the first arguments.
    late = [{"index": 0, "id": "a", "function": {"arguments": '{"x":'}}]
    named = [{"index": 0, "function": {"name": "f", "arguments": "1}"}}]
    assert events(delta(tool_calls=late), delta(tool_calls=named))[1:] == [began, ToolCallDelta(0, '{"x":1}'), *end]


@pytest.mark.parametrize(
    "said",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
    ],
)
def test_thoughts_are_read_in_each_spelling(said: Any) -> None:
    assert events(delta(**said), delta("stop", content="so"))[1:] == [
        ReasoningDelta("hm"),
        TextDelta("so"),
        Finished(FinishReason.STOP),
    ]


def test_counts_come_from_usage_and_else_from_an_engines_timings() -> None:
    timings = {"prompt_n": 3, "cache_n": 1, "predicted_n": 2, "prompt_per_second": 100.0, "predicted_per_second": 10.0}
    [told] = [one for one in events(delta("stop") | {"timings": timings}) if isinstance(one, UsageSaid)]
    assert told.usage == Usage(4, 2, 1)
    assert told.timings is not None
    counted = {"prompt_tokens": 9, "completion_tokens": 8, "completion_tokens_details": {"reasoning_tokens": 7}}
    assert events(delta("stop"), {"choices": [], "usage": counted})[-1] == UsageSaid(Usage(9, 8, 0), 7)
    assert events(delta("stop") | {"usage": {"prompt_tokens": "many"}})[-1] == Finished(FinishReason.STOP)


def test_a_stream_that_ends_too_early_is_truncated_and_one_that_fails_says_so() -> None:
    with pytest.raises(TruncatedReply):
        events(delta(content="hi"), done=False)
    with pytest.raises(TruncatedReply):
        events()
    assert events(delta(content="hi"), done=True)[-1] == Finished(FinishReason.STOP)
    assert events({"error": {"message": "no memory", "code": 500}}) == [Broke("no memory", "500")]
    assert events({"error": "no memory"}) == [Broke("no memory")]
    assert whole({"error": {"message": "no"}}) == [Broke("no")]


def test_what_came_before_nonsense_is_given_however_it_was_cut() -> None:
    data = b"data: " + json.dumps(delta(content="hi")).encode() + b"\n\ndata: nonsense\n\n" + b"data: [DONE]\n\n"
    for cut in range(len(data)):
        reader = CODEC.event_reader(streamed=True)
        found: list[Event] = []
        with contextlib.suppress(InvalidReply):
            for piece in (data[:cut], data[cut:]):
                found += reader.feed(piece)
        with pytest.raises(InvalidReply):
            reader.end()
        assert found == [Began("x"), TextDelta("hi")]


@pytest.mark.parametrize("reply", [{}, [], {"choices": []}, {"choices": [3]}, "x"])
def test_what_is_no_reply_is_told_from_one(reply: Any) -> None:
    with pytest.raises(InvalidReply):
        whole(reply)


def test_an_empty_answer_is_one() -> None:
    assert whole({"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}) == [
        Began(),
        Finished(FinishReason.LENGTH),
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"message":"no"}}', "no"),
        (b'{"error":"no"}', "no"),
        (b'{"object":"error","message":"no"}', "no"),
        (b'{"detail":"no"}', "no"),
        (b"{}", None),
        (b"<html>", None),
    ],
)
def test_a_complaint_is_read_in_each_form(body: bytes, said: str | None) -> None:
    assert CODEC.complaint(body) == said


SAID: list[Event] = [
    Began("x", "theirs"),
    ReasoningDelta("hm"),
    TextDelta("h"),
    LogProbs((TokenLogProb("h", -0.5, (104,), (TokenLogProb("H", -1.0),)),)),
    RefusalDelta("no"),
    ToolCallBegan(0, "a", "f"),
    ToolCallDelta(0, "{}"),
    ToolCallBegan(1, "b", "g"),
    ToolCallDelta(1, "[]"),
    Finished(FinishReason.TOOL_CALLS),
    UsageSaid(Usage(3, 4, 1), 2),
]


def test_a_stream_is_written_with_all_that_clients_demand_and_reads_as_it_was() -> None:
    writer = CODEC.event_writer(read(stream=True, stream_options={"include_usage": True}), HEAD, "")
    data = writer.write(SAID[:1]) + writer.write(SAID[1:]) + writer.end()
    *chunks, done = [one.removeprefix(b"data: ") for one in data.removesuffix(b"\n\n").split(b"\n\n")]
    assert done == b"[DONE]"
    for chunk in map(json.loads, chunks):
        assert {"id", "object", "created", "model", "choices", "usage"} == set(chunk)
        assert (chunk["id"], chunk["model"], chunk["created"]) == ("chatcmpl-1", "chat", 7)
        assert all({"index", "delta", "logprobs", "finish_reason"} == set(choice) for choice in chunk["choices"])
    reader = CODEC.event_reader(streamed=True)
    assert reader.feed(data) + reader.end() == [Began("chatcmpl-1", "chat"), *SAID[1:]]


def test_a_whole_reply_is_written_with_its_nulls_and_reads_as_it_was() -> None:
    writer = CODEC.event_writer(read(), HEAD, "")
    assert writer.write(SAID) == b""
    reply = json.loads(writer.end())
    assert reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["token"] == "H"
    assert reply["usage"]["total_tokens"] == 7
    found = whole(reply)
    assert {type(event) for event in found} == {type(event) for event in SAID}
    assert [event for event in found if isinstance(event, ToolCallDelta)] == [
        ToolCallDelta(0, "{}"),
        ToolCallDelta(1, "[]"),
    ]
    empty = CODEC.event_writer(read(), HEAD, "")
    message = json.loads(empty.end())["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "", "refusal": None}


@pytest.mark.parametrize(
    "name", sorted(path.name for path in RECORDINGS.glob("*.sse") if "completion" not in path.name)
)
def test_any_cut_of_a_recorded_stream_gives_the_same_events(name: str) -> None:
    data = (RECORDINGS / name).read_bytes()[:20_000]

    def found(*cuts: int) -> list[Event]:
        reader = CODEC.event_reader(streamed=True)
        ends = [0, *cuts, len(data)]
        return [event for one, two in itertools.pairwise(ends) for event in reader.feed(data[one:two])]

    once = found()
    assert any(isinstance(event, TextDelta | ToolCallDelta | ReasoningDelta | RefusalDelta) for event in once)
    for cut in range(1, len(data), 7):
        assert found(cut) == once
    assert found(*range(1, len(data))) == once


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("said", "heard"), [(-1, None), (1, 1), (0, ...), (-2, ...)])
def test_a_limit_of_tokens_is_a_number_of_them_or_minus_one(name: str, said: int, heard: Any) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], name: said}).encode()
    if heard is not ...:
        assert CODEC.read_request("", body).max_tokens == heard
        return
    with pytest.raises(InvalidRequest) as refused:
        CODEC.read_request("", body)
    assert refused.value.param == name


@pytest.mark.parametrize("stream", [True, False])
def test_a_call_without_arguments_has_an_object_of_none(stream: bool) -> None:
    request = read(stream=stream)
    writer = CODEC.event_writer(request, HEAD, "")
    said = writer.write([Began(), ToolCallBegan(0, "a", "f"), Finished(FinishReason.TOOL_CALLS)]) + writer.end()
    reader = CODEC.event_reader(stream)
    assert ToolCallDelta(0, "{}") in [*reader.feed(said), *reader.end()]
