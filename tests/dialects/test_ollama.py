"""Ollama's front: heads, what a relayed reply says of itself, and how errors are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moltbot_edge.core import errors
from moltbot_edge.core.decoding import MOST_OBJECTS
from moltbot_edge.core.errors import GatewayError, InvalidRequest, UpstreamRefused
from moltbot_edge.core.events import Usage
from moltbot_edge.dialects.ollama import PING, Ollama

RECORDINGS = Path(__file__).parent.parent / "recordings" / "ollama"
CHAT, GENERATE, EMBED = "/api/chat", "/api/generate", "/api/embed"


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "chat"} | fields).encode()


@pytest.mark.parametrize(
    ("path", "fields", "streams"),
    [
        (CHAT, {}, True),
        (CHAT, {"stream": None}, True),
        (CHAT, {"stream": True}, True),
        (CHAT, {"stream": False}, False),
        (CHAT, {"messages": [{"role": "user", "content": 'say "stream": false'}]}, True),
        (CHAT, {"messages": [{"role": "user", "content": "a stream"}], "options": {"stream": 1}}, True),
        (GENERATE, {}, True),
        (EMBED, {}, False),
        (EMBED, {"stream": True}, False),
    ],
)
def test_a_chat_streams_unless_its_caller_says_no(path: str, fields: dict[str, Any], streams: bool) -> None:
    assert Ollama().head(path, b"application/json", body(**fields)).stream is streams


@pytest.mark.parametrize(("said", "meant"), [("chat:latest", "chat"), ("chat", "chat"), ("qwen3:4b", "qwen3:4b")])
def test_latest_is_what_a_name_without_a_tag_means(said: str, meant: str) -> None:
    assert Ollama().head(CHAT, b"", body(model=said)).model == meant


def test_a_tag_alone_is_no_name() -> None:
    with pytest.raises(InvalidRequest, match="only a tag") as caught:
        Ollama().head(CHAT, b"", body(model=":latest"))
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("name", "usage"),
    [("plain.ndjson", Usage(17, 50)), ("generate.ndjson", Usage(17, 71))],
)
def test_a_streams_counts_are_in_its_last_line(name: str, usage: Usage) -> None:
    reader = Ollama().reader(True)
    for line in (RECORDINGS / name).read_bytes().splitlines(keepends=True):
        reader.feed(line)
    reader.end()
    assert reader.usage == usage
    assert reader.timings is not None
    assert 10 < reader.timings.decode_rate < 100


@pytest.mark.parametrize("name", ["plain.json", "generate.json"])
def test_a_whole_replys_counts_are_read_however_it_is_cut(name: str) -> None:
    data = (RECORDINGS / name).read_bytes()
    said = json.loads(data)
    for cut in (1, len(data) // 2, len(data) - 1):
        reader = Ollama().reader(False)
        reader.feed(data[:cut])
        reader.feed(data[cut:])
        reader.end()
        assert reader.usage == Usage(said["prompt_eval_count"], said["eval_count"])


@pytest.mark.parametrize(
    "line",
    [
        b'{"done":true,"eval_count":-3,"prompt_eval_count":99999999999999}',
        b'{"done":true,"eval_count":1,"eval_duration":0}',
        b'{"eval_count":"many"}',
        b'{"eval_count":',
        b"\xff\xfe eval_count",
    ],
)
def test_counts_that_cannot_be_are_not_believed(line: bytes) -> None:
    reader = Ollama().reader(True)
    reader.feed(line + b"\n")
    if reader.usage is not None:
        assert 0 <= reader.usage.output_tokens <= 10**9
        assert 0 <= reader.usage.input_tokens <= 10**9
    assert reader.timings is None


def test_what_the_form_of_a_reply_shows() -> None:
    observer = Ollama().observer(True)
    observer.feed((RECORDINGS / "plain.ndjson").read_bytes())
    impression = observer.impression()
    assert impression is not None
    assert not impression.empty
    assert not impression.cut_off

    observer = Ollama().observer(False)
    observer.feed(b'{"message":{"role":"assistant","content":" "},"done":true,"done_reason":"length"}')
    impression = observer.impression()
    assert impression is not None
    assert impression.empty
    assert impression.cut_off

    embeddings = Ollama().observer(False)
    embeddings.feed(b'{"embeddings":[[1,2]]}')
    assert embeddings.impression() is None


def test_what_a_chat_asks() -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "second", "images": ["aGk="]},
    ]
    prompt = Ollama().prompt(body(messages=messages, tools=[{"function": {"name": "f"}}], options={"num_predict": 5}))
    assert (prompt.text, prompt.before, prompt.turns, prompt.messages) == ("second", "first", 2, 4)
    assert prompt.tools
    assert prompt.images
    assert prompt.limited


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"prompt": "why?"}, "why?"),
        ({"input": "one"}, "one"),
        ({"input": ["one", "two"]}, "one\ntwo"),
        ({"input": 5}, ""),
        ({"prompt": 5}, ""),
        ({"messages": 5}, ""),
        ({"messages": [{}] * (MOST_OBJECTS + 1)}, ""),
    ],
)
def test_what_anything_else_asks(fields: dict[str, Any], text: str) -> None:
    assert Ollama().prompt(body(**fields)).text == text


def _leaves() -> list[GatewayError]:
    kinds = errors.leaves()
    return [
        kind("no", answered=500, body=b"", content_type=b"") if kind is UpstreamRefused else kind("no")
        for kind in kinds
    ]


@pytest.mark.parametrize("error", _leaves(), ids=lambda error: type(error).__name__)
def test_every_error_can_be_written(error: GatewayError) -> None:
    assert json.loads(Ollama().error(error)) == {"error": "no"}
    assert Ollama().error_event(error) == Ollama().error(error) + b"\n"


def test_the_path_of_a_field_is_in_the_text_where_else_would_it_be() -> None:
    assert json.loads(Ollama().error(InvalidRequest("is none", param="tools[0]"))) == {"error": "tools[0]: is none"}
    assert json.loads(Ollama().error(InvalidRequest("`think` is none", param="think"))) == {"error": "`think` is none"}


def test_a_ping_is_one_line_that_says_nothing() -> None:
    said = json.loads(PING)
    assert PING.endswith(b"}\n")
    assert (said["message"]["content"], said["response"], said["done"]) == ("", "", False)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_what_looks_at_a_reply(data: bytes) -> None:
    for streamed in (True, False):
        reader, observer = Ollama().reader(streamed), Ollama().observer(streamed)
        reader.feed(data)
        observer.feed(data)
        reader.end()
        observer.impression()
    Ollama().prompt(data)
