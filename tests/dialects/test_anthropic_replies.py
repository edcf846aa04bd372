"""Replies in Anthropic's shape, read from what was recorded and written from events; its own client is the judge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from moltbot_edge.core import sse
from moltbot_edge.core.chat import ChatRequest, Thinking
from moltbot_edge.core.dialect import ReplyHead
from moltbot_edge.core.errors import GatewayError, InvalidReply, TruncatedReply
from moltbot_edge.core.events import Usage
from moltbot_edge.core.reply import (
    Began,
    Broke,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningSealed,
    TextDelta,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)
from moltbot_edge.dialects.anthropic_codec import AnthropicCodec

FOLDER = Path(__file__).parents[1] / "recordings" / "anthropic_messages"
WHOLE = sorted(path for path in FOLDER.iterdir() if not path.name.startswith(("cut", "error")))
HEAD = ReplyHead("1", 0, "m")
STOP, LENGTH, CALLS = FinishReason.STOP, FinishReason.LENGTH, FinishReason.TOOL_CALLS
ANTHROPIC = "anthropic-messages"

codec = AnthropicCodec()
stream_event = TypeAdapter[Any](RawMessageStreamEvent)


def asked(stream: bool, thinking: Thinking | None = None) -> ChatRequest:
    return ChatRequest(model="m", messages=(), stream=stream, thinking=thinking)


def read(*pieces: bytes, streamed: bool) -> list[Event]:
    reader = codec.event_reader(streamed)
    return [event for piece in pieces for event in reader.feed(piece)] + reader.end()


def write(*batches: Sequence[Event], stream: bool, thinking: Thinking | None = None) -> bytes:
    writer = codec.event_writer(asked(stream, thinking), HEAD, "/v1/messages")
    return b"".join(writer.write(batch) for batch in batches) + writer.end()


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """Each as the official client's own types have it."""
    found: list[dict[str, Any]] = [json.loads(data) for data in sse.data_of(stream)]
    for event in found:
        stream_event.validate_python(event)
    return found


def blocks_of(stream: bytes) -> list[dict[str, Any]]:
    """The content that a client builds; each block is begun once, filled while it is open, and ended."""
    blocks: list[dict[str, Any]] = []
    is_open = False
    for event in events_of(stream):
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(blocks)
                blocks.append(event["content_block"] | {"said": ""})
                is_open = True
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(blocks) - 1
                delta = event["delta"]
                if delta["type"] == "signature_delta":
                    blocks[-1]["signature"] += delta["signature"]
                else:
                    blocks[-1]["said"] += delta.get("text") or delta.get("thinking") or delta.get("partial_json")
            case "content_block_stop":
                assert is_open
                is_open = False
    assert not is_open
    return blocks


def folded(events: Sequence[Event]) -> list[Any]:
    """What events say in the end: pieces joined, the last usage, and nothing of ids."""
    said: list[Any] = []
    usage = None
    for event in events:
        match event, said[-1:]:
            case TextDelta(text), [["text", before]]:
                said[-1] = ["text", before + text]
            case TextDelta(text), _:
                said.append(["text", text])
            case ReasoningDelta(text), [["thought", before]]:
                said[-1] = ["thought", before + text]
            case ReasoningDelta(text), _:
                said.append(["thought", text])
            case ToolCallDelta(index, arguments), [["call", place, call_id, name, before]] if place == index:
                said[-1] = ["call", place, call_id, name, before + arguments]
            case ToolCallBegan(index, call_id, name), _:
                said.append(["call", index, call_id, name, ""])
            case UsageSaid(), _:
                usage = event
            case Began(), _:
                pass
            case _:
                said.append(event)
    return [*said, usage]


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_what_was_recorded_is_read_and_written_again(path: Path) -> None:
    streamed = path.suffix == ".sse"
    events = read(path.read_bytes(), streamed=streamed)
    assert isinstance(events[0], Began)
    assert any(isinstance(event, Finished) for event in events)
    for stream in (True, False):
        again = write(events, stream=stream)
        assert folded(read(again, streamed=stream)) == folded(events)
        if stream:
            blocks_of(again)
        else:
            Message.model_validate_json(again, strict=True)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.sse")), ids=lambda path: path.name)
@given(st.data())
def test_any_cut_gives_the_same_events(path: Path, data: st.DataObject) -> None:
    body = path.read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    if path.name.startswith("cut"):
        with pytest.raises(TruncatedReply):
            read(*pieces, streamed=True)
    else:
        assert read(*pieces, streamed=True) == read(body, streamed=True)


def test_a_recorded_call_is_whole_json() -> None:
    events = read((FOLDER / "tools.sse").read_bytes(), streamed=True)
    calls = [one for one in folded(events) if isinstance(one, list) and one[0] == "call"]
    assert [json.loads(call[-1]) for call in calls]
    assert len(calls) > 1


def test_errors_and_their_words() -> None:
    body = (FOLDER / "error.json").read_bytes()
    assert codec.complaint(body) == "model: this-model-does-not-exist-12345"
    assert codec.complaint(b"<html>") is None
    assert isinstance(read(body, streamed=False)[0], Broke)
    broken = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    assert read(broken, streamed=True) == [Broke("Overloaded", "overloaded_error")]


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'{"content": 5}', b"nothing}"])
def test_what_is_no_reply_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(InvalidReply):
        read(body, streamed=False)
    with pytest.raises(TruncatedReply):
        read(b'{"content": [', streamed=False)
    with pytest.raises(InvalidReply):
        read(b"data: nothing\n\n", streamed=True)


def test_usage_is_all_that_was_read_and_what_the_cache_gave() -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 7}
    body = json.dumps({"content": [], "stop_reason": "end_turn", "usage": usage}).encode()
    events = read(body, streamed=False)
    assert events[-1] == UsageSaid(Usage(125, 7, 100), cache_write_tokens=20)
    assert json.loads(write(events, stream=False))["usage"] == usage


@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_that_nobody_counted_is_estimated(stream: bool) -> None:
    writer = codec.event_writer(asked(stream), ReplyHead("1", 0, "m", prompt_tokens=40), "/v1/messages")
    said = writer.write([Began(), TextDelta("Hi.")]) + writer.write([Finished(STOP)]) + writer.end()
    assert said.count(b'"input_tokens":40') == (2 if stream else 1)


def test_a_stream_in_its_order() -> None:
    stream = write(
        [Began("x", "y"), TextDelta("Hel")], [TextDelta("lo"), Finished(STOP)], [UsageSaid(Usage(9, 2, 4))], stream=True
    )
    assert [event["type"] for event in events_of(stream)] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    first, *_, last, _ = events_of(stream)
    assert first["message"]["id"] == "msg_1"
    assert first["message"]["model"] == "m"
    assert last["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert last["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 2,
    }


def test_calls_that_come_at_once_are_blocks_one_after_the_other() -> None:
    events: list[Event] = [Began(), ToolCallBegan(0, "a", "look"), ToolCallBegan(1, "b", "look")]
    for piece in ('{"at"', ":1", "}"):
        events += ToolCallDelta(0, piece), ToolCallDelta(1, piece)
    blocks = blocks_of(write(*([event] for event in (*events, Finished(CALLS))), stream=True))
    assert [(block["id"], block["said"]) for block in blocks] == [("a", '{"at":1}'), ("b", '{"at":1}')]


def test_a_second_call_does_not_wait_for_one_that_is_whole() -> None:
    writer = codec.event_writer(asked(True), HEAD, "/v1/messages")
    writer.write([Began(), ToolCallBegan(0, "a", "look"), ToolCallDelta(0, '{"at":1}')])
    assert b'"id":"b"' in writer.write([ToolCallBegan(1, "b", "look")])


def test_words_after_a_half_call_wait_for_it() -> None:
    events: list[Event] = [
        *(Began(), ToolCallBegan(0, "a", "look"), ToolCallDelta(0, "{"), TextDelta("so"), ToolCallDelta(0, "}")),
        *(TextDelta(" what"), Finished(CALLS)),
    ]
    blocks = blocks_of(write(*([event] for event in events), stream=True))
    assert [(block["type"], block["said"]) for block in blocks] == [("tool_use", "{}"), ("text", "so what")]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([Finished(STOP)], "end_turn"),
        ([Finished(STOP, "END")], "stop_sequence"),
        ([Finished(LENGTH)], "max_tokens"),
        ([Finished(FinishReason.REFUSED)], "refusal"),
        ([ToolCallBegan(0, "a", "b"), Finished(STOP)], "tool_use"),
        ([ToolCallBegan(0, "a", "b"), Finished(LENGTH)], "max_tokens"),
        ([Finished(CALLS)], "end_turn"),
        ([], "end_turn"),
    ],
)
def test_why_it_ended(events: list[Event], reason: str) -> None:
    assert json.loads(write(events, stream=False))["stop_reason"] == reason
    assert events_of(write(events, stream=True))[-2]["delta"]["stop_reason"] == reason


@pytest.mark.parametrize("stream", [True, False])
def test_a_thought_of_anothers_has_our_mark_for_a_signature(stream: bool) -> None:
    events: list[Event] = [ReasoningDelta("Hm."), TextDelta("Hi."), Finished(STOP)]
    said = write(events, stream=stream)
    blocks = blocks_of(said) if stream else json.loads(said)["content"]
    assert [block["type"] for block in blocks] == ["thinking", "text"]
    assert blocks[0]["signature"] == "moltbot-edge:"
    sealed: list[Event] = [ReasoningDelta("Hm."), ReasoningSealed("abc", "openai-responses", id="rs_1"), Finished(STOP)]
    assert sealed[1] in read(write(sealed, stream=stream), streamed=stream)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("thinking", [Thinking(on=False), Thinking(shown=False)])
def test_who_does_not_want_to_see_thoughts_does_not(stream: bool, thinking: Thinking) -> None:
    said = write([ReasoningDelta("Hm."), TextDelta("Hi."), Finished(STOP)], stream=stream, thinking=thinking)
    assert b"Hm." not in said
    assert b"Hi." in said


def test_arguments_that_are_no_object_are_not_lost() -> None:
    events: list[Event] = [ToolCallBegan(0, "a", "look"), ToolCallDelta(0, '{"at":'), Finished(LENGTH)]
    (block,) = json.loads(write(events, stream=False))["content"]
    assert block["input"] == {"_unparsed": '{"at":'}
    (begun,) = blocks_of(write(events, stream=True))
    assert begun["said"] == '{"at":'


def test_a_call_without_arguments_has_the_empty_object() -> None:
    body = json.dumps(
        {"content": [{"type": "tool_use", "id": "a", "name": "look", "input": {}}], "stop_reason": "tool_use"}
    ).encode()
    assert ToolCallDelta(0, "{}") in read(body, streamed=False)


def test_what_ends_a_stream_that_failed_is_what_the_client_raises_on() -> None:
    writer = codec.event_writer(asked(True), HEAD, "/v1/messages")
    writer.write([Began(), TextDelta("Hel")])
    assert writer.fail(GatewayError("it broke")) == (
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"it broke"}}\n\n'
    )


INDICES = st.integers(0, 2)
PIECES = st.lists(
    st.one_of(
        st.builds(TextDelta, st.text(min_size=1, max_size=4)),
        st.builds(ReasoningDelta, st.text(min_size=1, max_size=4)),
        st.builds(ToolCallDelta, INDICES, st.sampled_from(["{", "}", '"a":1', ""])),
    ),
    max_size=20,
)


@given(PIECES, st.integers(1, 4))
def test_no_text_and_no_argument_is_lost_however_it_comes(pieces: list[Event], at_once: int) -> None:
    events: list[Event] = []
    begun: set[int] = set()
    for event in pieces:
        if isinstance(event, ToolCallDelta) and event.index not in begun:
            begun.add(event.index)
            events.append(ToolCallBegan(event.index, f"c{event.index}", "look"))
        events.append(event)
    events.append(Finished(STOP))
    batches = [events[start : start + at_once] for start in range(0, len(events), at_once)]
    blocks = blocks_of(write(*batches, stream=True))
    for kind, wanted in (("text", TextDelta), ("thinking", ReasoningDelta)):
        said = "".join(block["said"] for block in blocks if block["type"] == kind)
        assert said == "".join(event.text for event in events if isinstance(event, wanted))
    for index in begun:
        (call,) = [block for block in blocks if block.get("id") == f"c{index}"]
        assert call["said"] == "".join(
            event.arguments for event in events if isinstance(event, ToolCallDelta) and event.index == index
        )
