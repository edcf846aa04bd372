"""Ollama's chat as requests and replies are translated: what is read, what is written, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from moltbot_edge.core.dialect import EventReader, ReplyHead
from moltbot_edge.core.errors import GatewayError, InvalidReply, InvalidRequest, TruncatedReply
from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.reply import (
    Began,
    Broke,
    Event,
    Finished,
    FinishReason,
    LogProbs,
    ReasoningDelta,
    TextDelta,
    TokenLogProb,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)
from moltbot_edge.dialects.ollama_codec import OllamaCodec

RECORDINGS = Path(__file__).parent.parent / "recordings" / "ollama"
CHAT, GENERATE = "/api/chat", "/api/generate"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HEAD = ReplyHead("chatcmpl-1", 1_750_000_000, "chat")

# As Ollama's documentation shows a call of a tool, and thoughts.
CALLS = b"""\
{"model":"llama3.2","created_at":"2025-07-07T20:22:19.184789Z","message":{"role":"assistant","content":"","thinking":"Both."},"done":false}
{"model":"llama3.2","created_at":"2025-07-07T20:22:19.184789Z","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"get_weather","arguments":{"city":"Tokyo"}}}]},"done":false}
{"model":"llama3.2","created_at":"2025-07-07T20:22:19.19314Z","message":{"role":"assistant","content":"","tool_calls":[{"id":"call_own","function":{"name":"get_time","arguments":{"at":{"city":"\\u00c5lesund"}}}}]},"done":false}
{"model":"llama3.2","created_at":"2025-07-07T20:22:19.2Z","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"total_duration":182242375,"load_duration":41295167,"prompt_eval_count":169,"prompt_eval_duration":24573166,"eval_count":15,"eval_duration":115959084}
"""


def asked(path: str = CHAT, **fields: Any) -> ChatRequest:
    return OllamaCodec().read_request(path, json.dumps({"model": "chat"} | fields).encode())


def sent(request: ChatRequest) -> dict[str, Any]:
    outgoing = OllamaCodec().write_request(request)
    assert outgoing.path == "/api/chat"
    found: dict[str, Any] = json.loads(outgoing.body)
    return found


def events(data: bytes, *cuts: int) -> list[Event]:
    reader: EventReader = OllamaCodec().event_reader(True)
    places = [0, *sorted(cuts), len(data)]
    found = [event for start, end in pairwise(places) for event in reader.feed(data[start:end])]
    return [*found, *reader.end()]


def written(said: Iterable[Event], request: ChatRequest, path: str = CHAT) -> list[dict[str, Any]]:
    writer = OllamaCodec().event_writer(request, HEAD, path)
    lines = b"".join([writer.write([one]) for one in said]) + writer.end()
    return [json.loads(line) for line in lines.splitlines()]


# Requests.


def test_a_conversation_with_tools_is_read() -> None:
    request = asked(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is this?", "images": [PNG]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "Two cities.",
                "tool_calls": [
                    {"function": {"name": "weather", "arguments": {"city": "Bergen"}}},
                    {"function": {"name": "time", "arguments": {"city": "Bergen"}}},
                ],
            },
            {"role": "tool", "tool_name": "time", "content": "noon"},
            {"role": "tool", "content": "rain"},
        ],
        tools=[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
    )
    assert request.stream
    assert request.tools == (Tool("weather", None, b'{"type": "object"}'),)
    system, user, assistant, results = request.messages
    assert system == Message(Role.SYSTEM, (Text(text="Be brief."),))
    assert user.parts == (Text(text="What is this?"), Image(media_type="image/png", data=PNG))
    assert assistant.parts == (
        Reasoning(text="Two cities.", origin="ollama"),
        ToolCall(id="call_0", name="weather", arguments='{"city":"Bergen"}'),
        ToolCall(id="call_1", name="time", arguments='{"city":"Bergen"}'),
    )
    assert results == Message(
        Role.TOOL,
        (
            ToolResult(id="call_1", parts=(Text(text="noon"),), name="time"),
            ToolResult(id="call_0", parts=(Text(text="rain"),)),
        ),
    )


def test_results_find_their_calls_however_many_there_are() -> None:
    names = [f"tool_{place % 7}" for place in range(20_000)]
    calls = [{"function": {"name": name, "arguments": {}}} for name in names]
    results = [{"role": "tool", "tool_name": name, "content": name} for name in reversed(names)]
    called, answered = asked(messages=[{"role": "assistant", "content": "", "tool_calls": calls}, *results]).messages
    of = {part.id: part.name for part in called.parts if isinstance(part, ToolCall)}
    found = [part for part in answered.parts if isinstance(part, ToolResult)]
    assert len({one.id for one in found}) == len(of) == 20_000
    assert all(of[one.id] == one.name for one in found)


def test_options_are_read() -> None:
    options = {
        "num_predict": 20, "temperature": 0, "top_p": 0.5, "top_k": 40.0, "min_p": 0.1, "seed": 2**60, "stop": ["END"],
        "presence_penalty": 1, "frequency_penalty": 0.5, "repeat_penalty": 1.1, "num_ctx": 8192, "mirostat": None,
    }  # fmt: skip
    request = asked(options=options, keep_alive="5m", think="high", format={"type": "object"}, shift=True)
    assert (request.max_tokens, request.temperature, request.top_k, request.seed) == (20, 0, 40, 2**60)
    assert (request.presence_penalty, request.frequency_penalty, request.repeat_penalty) == (1, 0.5, 1.1)
    assert request.stop == ("END",)
    assert request.keep_alive == 300
    assert request.thinking == Thinking(effort="high")
    assert request.format == Format(schema=b'{"type": "object"}')
    assert request.extras == {"shift": b"true", "options.num_ctx": b"8192"}
    assert not request.vital


@pytest.mark.parametrize(("said", "tokens"), [(-1, None), (-2, None), (0, None), (7, 7)])
def test_a_number_below_one_means_that_the_answer_is_not_limited(said: int, tokens: int | None) -> None:
    assert asked(options={"num_predict": said}).max_tokens == tokens


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        *[("5m", 300), ("1h30m", 5400), ("-1m", -60), ("-1", -1), (0, 0), ("0", 0), (-1, -1), ("1.5s", 1.5)],
        *[("250ms", 0.25), ("", None), (None, None), (30.5, 30.5)],
    ],
)
def test_how_long_a_model_stays(said: object, seconds: float | None) -> None:
    assert asked(keep_alive=said).keep_alive == seconds


@pytest.mark.parametrize(
    ("think", "thinking"),
    [(True, Thinking()), (False, Thinking(on=False)), ("low", Thinking(effort="low")), (None, None)],
)
def test_whether_it_thinks(think: object, thinking: Thinking | None) -> None:
    assert asked(think=think).thinking == thinking


def test_a_completion_is_a_chat_of_one_message() -> None:
    request = asked(GENERATE, prompt="Why?", system="Be brief.", images=[PNG], format="json", suffix="", context=[])
    assert request.messages == (
        Message(Role.SYSTEM, (Text(text="Be brief."),)),
        Message(Role.USER, (Text(text="Why?"), Image(media_type="image/png", data=PNG))),
    )
    assert request.format == Format()
    assert not request.vital


@pytest.mark.parametrize("field", [{"suffix": "}"}, {"raw": True}, {"template": "{{.Prompt}}"}, {"context": [1, 2]}])
def test_what_only_an_ollama_can_honour_is_vital(field: dict[str, object]) -> None:
    request = asked(GENERATE, prompt="Why?", **field)
    (name,) = field
    assert request.vital == (name,)
    with pytest.raises(InvalidRequest) as caught:
        OllamaCodec().write_request(request)  # its chat has none of these
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": 5}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": ["b"]}]}, "messages[1].content"),
        ({"messages": [{"content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "developer", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "images": ["AAAA"]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "user", "images": [PNG, "http://box/cat.png"]}]}, "messages[0].images[1]"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"tools": [{"function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
        ({"format": "yaml"}, "format"),
        ({"format": 5}, "format"),
        ({"think": "hard"}, "think"),
        ({"think": 5}, "think"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"options": {"temperature": "warm"}}, "options.temperature"),
        ({"options": {"stop": [1]}}, "options.stop[0]"),
        ({"options": []}, "options"),
        ({"model": 5}, "model"),
    ],
)
def test_a_malformed_request_is_told_where(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(**fields)
    assert caught.value.param == param


def test_a_body_of_nothing_but_objects_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidRequest, match="objects"):
        OllamaCodec().read_request(CHAT, b'{"model":"chat","messages":[' + b"{}," * 100_001 + b"{}]}")


def test_what_was_read_is_written_again() -> None:
    fields: dict[str, Any] = {
        "messages": [
            {"role": "user", "content": "a", "images": [PNG]},
            {
                "role": "assistant",
                "content": "b",
                "thinking": "c",
                "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": {"a": [1, {"b": None}]}}}],
            },
            {"role": "tool", "content": "d", "tool_call_id": "x", "tool_name": "f"},
        ],
        "stream": False,
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "g", "parameters": {"type": "object"}}}
        ],
        "format": {"type": "object"},
        "think": False,
        "keep_alive": 300.0,
        "logprobs": True,
        "top_logprobs": 3,
        "truncate": True,
        "options": {"num_predict": 5, "seed": 7, "stop": ["e"], "num_ctx": 4096},
    }
    request = asked(**fields)
    assert sent(request) == {"model": "chat"} | fields
    assert OllamaCodec().read_request(CHAT, OllamaCodec().write_request(request).body) == request


def test_wishes_of_other_dialects_are_written_or_dropped_by_name() -> None:
    request = ChatRequest(
        model="m",
        messages=(
            Message(Role.USER, (Text(text="a", cached=True), Text(text="b"), File(text="c")), name="ann"),
            Message(Role.ASSISTANT, (Reasoning(text="d", seal="s", origin="anthropic-messages"),)),
            Message(Role.ASSISTANT, (ToolCall(id="1", name="f", arguments='{"cut": "o'),)),
            Message(Role.TOOL, (ToolResult(id="1", parts=(Text(text="no"),), failed=True),)),
        ),
        tools=(Tool("f", strict=True),),
        parallel_tools=False,
        thinking=Thinking(effort="minimal", budget_tokens=5),
        user="ann",
        extras={"store": b"true"},
        origin="openai-chat",
    )
    outgoing = OllamaCodec().write_request(request)
    assert set(outgoing.dropped) == {
        "messages.name", "cache_control", "reasoning.signature", "is_error", "tools.strict", "thinking.budget_tokens",
        "store", "parallel_tool_calls", "user",
    }  # fmt: skip
    said = json.loads(outgoing.body)
    assert [message["content"] for message in said["messages"]] == ["a\nb\nc", "", "", "no"]
    assert said["messages"][1]["thinking"] == "d"
    assert said["messages"][2]["tool_calls"][0]["function"]["arguments"] == {"arguments": '{"cut": "o'}
    assert said["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert said["think"] == "low"
    assert "store" not in said


def test_tools_that_may_not_be_called_are_not_shown() -> None:
    request = ChatRequest(model="m", messages=(), tools=(Tool("f"),), tool_choice=ToolChoice(ToolMode.NONE))
    assert "tools" not in sent(request)


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({"choices": 2}, "n"),
        ({"logit_bias": {"5": 1.0}}, "logit_bias"),
        ({"tool_choice": ToolChoice(ToolMode.REQUIRED)}, "tool_choice"),
        ({"tool_choice": ToolChoice(name="f")}, "tool_choice"),
        ({"messages": (Message(Role.USER, (Image(url="https://box/cat.png"),)),)}, "messages[0].content"),
        (
            {"messages": (Message(Role.USER, (File(data="JVBE", media_type="application/pdf"),)),)},
            "messages[0].content",
        ),
        ({"vital": ("web_search",)}, "web_search"),
    ],
)
def test_a_wish_that_would_change_the_answer_is_refused(wish: dict[str, Any], param: str) -> None:
    request = msgspec.structs.replace(ChatRequest(model="m", messages=(), tools=(Tool("f"),)), **wish)
    with pytest.raises(InvalidRequest) as caught:
        OllamaCodec().write_request(request)
    assert caught.value.param == param


# Replies, read.


@pytest.mark.parametrize("name", ["plain.ndjson", "generate.ndjson"])
def test_a_recorded_stream_gives_the_same_events_wherever_it_is_cut(name: str) -> None:
    data = (RECORDINGS / name).read_bytes()
    whole = events(data)
    assert whole[0] == Began(model="llama3")
    assert isinstance(whole[1], TextDelta)
    assert whole[-1] == Finished(FinishReason.STOP)
    assert isinstance(whole[-2], UsageSaid)
    said = "".join(
        json.loads(line).get("response") or json.loads(line).get("message", {}).get("content", "")
        for line in data.splitlines()
    )
    assert "".join(event.text for event in whole if isinstance(event, TextDelta)) == said
    for cut in range(0, len(data), 29):
        assert events(data, cut) == whole
    assert events(data, *range(1, len(data))) == whole


@pytest.mark.parametrize("name", ["plain.json", "generate.json"])
def test_a_recorded_whole_reply_is_its_own_only_line(name: str) -> None:
    data = (RECORDINGS / name).read_bytes()
    whole = events(data)
    assert [type(event) for event in whole] == [Began, TextDelta, UsageSaid, Finished]
    for cut in range(len(data)):
        assert events(data, cut) == whole


def test_calls_of_tools_and_thoughts() -> None:
    assert events(CALLS) == [
        Began(model="llama3.2"),
        ReasoningDelta("Both."),
        ToolCallBegan(0, "call_20250707202219184789_0", "get_weather"),
        ToolCallDelta(0, '{"city":"Tokyo"}'),
        ToolCallBegan(1, "call_own", "get_time"),
        ToolCallDelta(1, '{"at":{"city":"\\u00c5lesund"}}'),
        UsageSaid(Usage(169, 15), timings=Timings(169 / 24573166 * 1e9, 15 / 115959084 * 1e9)),
        Finished(FinishReason.TOOL_CALLS),
    ]


def test_an_error_in_the_middle_of_a_stream() -> None:
    assert events(CALLS.splitlines(keepends=True)[0] + b'{"error":"out of memory"}\n')[-1] == Broke("out of memory")


@pytest.mark.parametrize("cut", [0, 1, 100, len(CALLS) - 60, len(CALLS) - 2])
def test_a_reply_that_breaks_off_is_known_for_it(cut: int) -> None:
    with pytest.raises(TruncatedReply):
        events(CALLS[:cut])


def test_what_came_before_a_recorded_stream_was_cut_is_said() -> None:
    data = (RECORDINGS / "cut.ndjson").read_bytes()
    reader = OllamaCodec().event_reader(True)
    assert "".join(event.text for event in reader.feed(data) if isinstance(event, TextDelta)).startswith("Why did")
    with pytest.raises(TruncatedReply):
        reader.end()


@pytest.mark.parametrize("data", [b"<html>\n", b"[]\n", b'{"message": 5}\n', b"\xff\n", b"[" * 100_000 + b"\n"])
def test_what_is_no_reply_of_ollamas(data: bytes) -> None:
    with pytest.raises(InvalidReply):
        events(data)


def test_a_line_without_an_end_is_not_held_for_ever() -> None:
    reader = OllamaCodec().event_reader(True)
    for _ in range(128):
        assert reader.feed(b"x" * 65_536) == []
    with pytest.raises(InvalidReply, match="longer"):
        reader.feed(b"x")


def test_an_upstreams_complaint() -> None:
    assert OllamaCodec().complaint(b'{"error":"model \'x\' not found"}') == "model 'x' not found"
    for body in (b"", b"<html>", b"[]"):
        assert OllamaCodec().complaint(body) is None


# Replies, written.


@pytest.mark.parametrize("name", ["plain.ndjson", "generate.ndjson"])
def test_a_stream_that_was_read_is_written_again(name: str) -> None:
    path = CHAT if name == "plain.ndjson" else GENERATE
    said = events((RECORDINGS / name).read_bytes())
    lines = written(said, asked(path, prompt="hi", messages=[{"role": "user", "content": "hi"}]), path)
    theirs = [json.loads(line) for line in (RECORDINGS / name).read_bytes().splitlines()]
    assert {key for line in lines for key in line} <= {key for line in theirs for key in line}
    for ours, other in zip(lines[:-1], theirs[:-1], strict=True):
        assert ours.get("message") == other.get("message")
        assert ours.get("response") == other.get("response")
    for field in ("done", "done_reason", "prompt_eval_count", "eval_count"):
        assert lines[-1][field] == theirs[-1][field]
    assert lines[-1]["eval_duration"] == pytest.approx(theirs[-1]["eval_duration"])
    assert lines[-1]["created_at"] == "2025-06-15T15:06:40Z"
    assert lines[-1]["model"] == "chat"


def test_a_whole_reply_is_one_object() -> None:
    request = asked(messages=[{"role": "user", "content": "hi"}], stream=False)
    (reply,) = written(events(CALLS), request)
    assert reply["done"] is True
    assert reply["message"] == {
        "role": "assistant",
        "content": "",
        "thinking": "Both.",
        "tool_calls": [
            {
                "id": "call_20250707202219184789_0",
                "function": {"index": 0, "name": "get_weather", "arguments": {"city": "Tokyo"}},
            },
            {"id": "call_own", "function": {"index": 1, "name": "get_time", "arguments": {"at": {"city": "Ålesund"}}}},
        ],
    }


def test_arguments_that_come_in_pieces_are_one_call_before_the_last_line() -> None:
    said: list[Event] = [
        Began(),
        ToolCallBegan(0, "a", "f"),
        ToolCallBegan(1, "b", "g"),
        ToolCallDelta(0, '{"x'),
        ToolCallDelta(1, '{"cut'),
        ToolCallDelta(0, '":1}'),
        Finished(FinishReason.TOOL_CALLS),
    ]
    lines = written(said, asked(messages=[{"role": "user", "content": "hi"}]))
    assert [line["done"] for line in lines] == [False, True]
    first, second = lines[0]["message"]["tool_calls"]
    assert first["function"]["arguments"] == {"x": 1}
    assert second["function"]["arguments"] == {"arguments": '{"cut'}
    assert lines[1]["done_reason"] == "stop"


def test_log_probabilities_pass_both_ways() -> None:
    tokens = (TokenLogProb("a", -0.5, (97,), (TokenLogProb("b", -1.0),)),)
    lines = written([LogProbs(tokens), Finished(FinishReason.LENGTH)], asked(messages=[{"role": "user"}]))
    assert lines[0]["logprobs"] == [
        {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.0}]}
    ]
    assert lines[-1]["done_reason"] == "length"
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    assert LogProbs(tokens) in events(data)


@pytest.mark.parametrize(("keep_alive", "reason"), [(None, "load"), ("5m", "load"), (0, "unload")])
@pytest.mark.parametrize("path", [CHAT, GENERATE])
def test_a_request_without_a_question_is_about_the_model(path: str, keep_alive: object, reason: str) -> None:
    request = asked(path, keep_alive=keep_alive)
    assert request.messages == ()
    (line,) = written([Began(), Finished(FinishReason.STOP)], request, path)
    assert (line["done"], line["done_reason"]) == (True, reason)


def test_durations_are_measured_here_where_the_upstream_says_none() -> None:
    moments = iter([2.0, 5.0])
    head = ReplyHead("id", 0, "chat", lambda: next(moments))
    writer = OllamaCodec().event_writer(asked(messages=[{"role": "user", "content": "hi"}]), head, CHAT)
    writer.write([TextDelta("a")])
    writer.write([UsageSaid(Usage(3, 4)), Finished(FinishReason.STOP)])
    last = json.loads(writer.end())
    assert last["prompt_eval_duration"] == 2_000_000_000
    assert last["eval_duration"] == 3_000_000_000
    assert last["total_duration"] == 5_000_000_000
    assert (last["prompt_eval_count"], last["eval_count"]) == (3, 4)


def test_a_stream_that_fails_ends_with_a_line_that_says_so() -> None:
    writer = OllamaCodec().event_writer(asked(messages=[{"role": "user", "content": "hi"}]), HEAD, CHAT)
    writer.write([TextDelta("a")])
    assert json.loads(writer.fail(TruncatedReply("it broke off"))) == {"error": "it broke off"}
    assert written([Broke("no")], asked())[-1] == {"error": "no"}


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *(
                            "messages",
                            "role",
                            "content",
                            "tool_calls",
                            "function",
                            "name",
                            "arguments",
                            "options",
                            "images",
                        ),
                        *("think", "format", "tools", "keep_alive", "prompt", "stream", "num_predict", "parameters"),
                    ]
                )
                | st.text(max_size=3),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_no_request_breaks_the_reading(fields: Any) -> None:
    body = json.dumps({"model": "m"} | fields if isinstance(fields, dict) else fields).encode()
    for path in (CHAT, GENERATE):
        try:
            request = OllamaCodec().read_request(path, body)
            again = OllamaCodec().write_request(request)
        except GatewayError as error:
            assert error.status == 400  # noqa: PT017
        else:
            OllamaCodec().read_request(CHAT, again.body)


def test_a_rate_that_nobody_has_makes_no_duration_longer_than_clients_can_hold() -> None:
    slow = UsageSaid(Usage(10**9, 10**9), timings=Timings(1e-3, 1e-3))
    last = written([Began(), slow, Finished(FinishReason.STOP)], asked(messages=[]))[-1]
    assert max(last["total_duration"], last["eval_duration"], last["prompt_eval_duration"]) < 2**63
