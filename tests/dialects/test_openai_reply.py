"""What the form of a reply in OpenAI's shape shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core import sse
from moltbot_edge.core.verdict import Impression
from moltbot_edge.dialects.openai_chat import OpenAIChat
from moltbot_edge.dialects.openai_reply import JUDGED_BYTES, MOST_CALLS

RECORDINGS = Path(__file__).parents[1] / "recordings" / "openai_chat"
DIALECT = OpenAIChat()
FINE = Impression()


def whole(message: Any, finish: str = "stop", **reply: Any) -> Impression | None:
    observer = DIALECT.observer(streamed=False)
    observer.feed(json.dumps({"choices": [{"message": message, "finish_reason": finish}], **reply}).encode())
    return observer.impression()


def streamed(*deltas: Any, finish: str = "stop") -> Impression | None:
    observer = DIALECT.observer(streamed=True)
    for delta in deltas:
        observer.feed(sse.event(json.dumps({"choices": [{"delta": delta, "finish_reason": None}]}).encode()))
    observer.feed(sse.event(json.dumps({"choices": [{"delta": {}, "finish_reason": finish}]}).encode()))
    observer.feed(sse.event(b'{"choices":[],"usage":{}}') + sse.event(b"[DONE]"))
    return observer.impression()


def call(arguments: Any, index: int = 0) -> dict[str, Any]:
    return {"index": index, "function": {"name": "f", "arguments": arguments}}


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        ({"content": "hi"}, "stop", FINE),
        ({"content": ""}, "stop", Impression(empty=True)),
        ({"content": " \n"}, "stop", Impression(empty=True)),
        ({"content": None, "reasoning_content": "hm"}, "stop", Impression(empty=True)),
        ({"content": None, "refusal": "I will not"}, "stop", FINE),
        ({"content": "and then"}, "length", Impression(cut_off=True)),
        ({"content": None, "tool_calls": [call('{"city": "Rome"}')]}, "tool_calls", FINE),
        ({"content": None, "tool_calls": [call("")]}, "tool_calls", FINE),
        ({"content": None, "tool_calls": [call({"city": "Rome"})]}, "tool_calls", FINE),
        ({"content": None, "tool_calls": [call('{"city": Rome}')]}, "tool_calls", Impression(broken_call=True)),
        ({"content": None, "tool_calls": [call("{}"), call("{", 1)]}, "tool_calls", Impression(broken_call=True)),
        ({"content": None, "tool_calls": [call('{"city": "Ro')]}, "length", Impression(cut_off=True)),
    ],
)
def test_a_reply_shows_the_same_whole_and_streamed(message: Any, finish: str, expected: Impression) -> None:
    assert whole(message, finish) == expected
    assert streamed({"role": "assistant"}, message, finish=finish) == expected


def test_a_tool_call_is_put_together_from_its_pieces() -> None:
    pieces = [{"tool_calls": [call(piece)]} for piece in ('{"ci', 'ty": "R', 'ome"}')]
    assert streamed(*pieces) == FINE
    assert streamed(*pieces[:2]) == Impression(broken_call=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("chat.sse", FINE), ("chat_without_usage.sse", FINE), ("completion.sse", Impression(cut_off=True))],
)
def test_a_recorded_stream_is_read_and_has_an_id(name: str, expected: Impression) -> None:
    observer = DIALECT.observer(streamed=True)
    observer.feed((RECORDINGS / name).read_bytes())
    assert observer.impression() == expected
    assert observer.reply_id is not None
    assert observer.reply_id.startswith("chatcmpl-")


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b'{"data":[{"embedding":[1]}]}', b'{"choices":[]}'])
def test_what_is_no_chat_is_not_judged(body: bytes) -> None:
    observer = DIALECT.observer(streamed=False)
    observer.feed(body)
    assert observer.impression() is None


def test_what_is_too_large_is_not_judged_and_not_kept() -> None:
    assert whole({"content": "x" * JUDGED_BYTES}) is None
    assert streamed(*[{"tool_calls": [call("x" * 10_000)]}] * 30) is None
    assert streamed(*[{"tool_calls": [call("{}", index)]} for index in range(MOST_CALLS + 1)]) is None
    assert whole({"content": "hi"}, id="x" * 1000) == FINE


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_in_any_pieces_do_no_harm(body: bytes, cut: int) -> None:
    for is_stream in (True, False):
        observer = DIALECT.observer(is_stream)
        observer.feed(body[:cut])
        observer.feed(body[cut:])
        observer.impression()
