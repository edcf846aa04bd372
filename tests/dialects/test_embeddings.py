"""Embeddings as OpenAI and Ollama ask for them and answer: the same texts in order, and no digit changed."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moltbot_edge.core.dialect import EmbedCodec, ReplyHead
from moltbot_edge.core.embedding import Embedded, EmbedRequest
from moltbot_edge.core.errors import InvalidReply, InvalidRequest
from moltbot_edge.dialects.ollama_embedding import OllamaEmbedCodec
from moltbot_edge.dialects.openai_embedding import OpenAIEmbedCodec

RECORDINGS = Path(__file__).parent.parent / "recordings"
HEAD = ReplyHead("id", 0, "embed", lambda: 0.5)
OPENAI, EMBED, OLDER = "/v1/embeddings", "/api/embed", "/api/embeddings"
VECTOR = b"[0.1,-2.5e-05,3]"


def codec(path: str) -> EmbedCodec:
    return OpenAIEmbedCodec() if path == OPENAI else OllamaEmbedCodec()


def asked(path: str, **fields: Any) -> EmbedRequest:
    return codec(path).read_request(path, json.dumps({"model": "embed"} | fields).encode())


@pytest.mark.parametrize(
    ("path", "fields", "inputs"),
    [
        (OPENAI, {"input": "a"}, ("a",)),
        (OPENAI, {"input": ["a", "b"]}, ("a", "b")),
        (EMBED, {"input": "a"}, ("a",)),
        (EMBED, {"input": ["a", "b"]}, ("a", "b")),
        (EMBED, {"input": []}, ()),
        (EMBED, {}, ()),
        (OLDER, {}, ()),
        (OLDER, {"prompt": "a"}, ("a",)),
    ],
)
def test_texts_are_read(path: str, fields: dict[str, Any], inputs: tuple[str, ...]) -> None:
    assert asked(path, **fields).inputs == inputs


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (OPENAI, {}, "input"),
        (OPENAI, {"input": [1, 2]}, "input"),
        (OPENAI, {"input": [[1, 2]]}, "input"),
        (OPENAI, {"input": ["a", 5]}, "input"),
        (OPENAI, {"input": {"text": "a"}}, "input"),
        (OPENAI, {"input": "a", "encoding_format": "int8"}, "encoding_format"),
        (OPENAI, {"input": "a", "dimensions": "few"}, "dimensions"),
        (EMBED, {"input": [5]}, "input[0]"),
        (EMBED, {"prompt": "a"}, "input"),
        (OLDER, {"input": "a"}, "prompt"),
        (EMBED, {"input": "a", "keep_alive": "soon"}, "keep_alive"),
    ],
)
def test_a_malformed_request_is_told_where(path: str, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(path, **fields)
    assert caught.value.param == param


def test_an_openai_caller_of_an_ollama() -> None:
    outgoing = OllamaEmbedCodec().write_request(
        asked(OPENAI, input=["a"], dimensions=64, user="ann", encoding_format="base64", task="query")
    )
    assert outgoing.path == EMBED
    # For OpenAI's clients a text that is too long is an error, and half of it would be an answer to another question.
    assert json.loads(outgoing.body) == {"model": "embed", "input": ["a"], "dimensions": 64, "truncate": False}
    assert outgoing.dropped == ("user", "task")


def test_an_ollama_caller_of_an_openai() -> None:
    request = asked(EMBED, input=["a"], dimensions=64, truncate=True, keep_alive="5m", options={"num_ctx": 512})
    outgoing = OpenAIEmbedCodec().write_request(request)
    assert outgoing.path == "/embeddings"
    said = {"model": "embed", "input": ["a"], "dimensions": 64, "encoding_format": "float"}
    assert json.loads(outgoing.body) == said
    assert outgoing.dropped == ("truncate", "keep_alive", "options")


def test_no_digit_of_a_vector_changes() -> None:
    said = b'{"model":"m","embeddings":[' + VECTOR + b"," + VECTOR + b'],"prompt_eval_count":5}'
    reply = OllamaEmbedCodec().read_reply(said)
    assert reply == Embedded((VECTOR, VECTOR), "m", 5)
    out = OpenAIEmbedCodec().write_reply(reply, asked(OPENAI, input=["a", "b"]), HEAD, OPENAI)
    assert VECTOR in out
    whole = json.loads(out)
    assert [datum["index"] for datum in whole["data"]] == [0, 1]
    assert whole["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert whole["model"] == "embed"
    assert OpenAIEmbedCodec().read_reply(out) == Embedded((VECTOR, VECTOR), "embed", 5)


def test_an_ollamas_recorded_vector_comes_out_at_either_path() -> None:
    recorded = (RECORDINGS / "ollama" / "embeddings.json").read_bytes()
    reply = OllamaEmbedCodec().read_reply(recorded)
    older = OllamaEmbedCodec().write_reply(reply, asked(OLDER, prompt="a"), HEAD, OLDER)
    assert json.loads(older) == json.loads(recorded)
    newer = json.loads(OllamaEmbedCodec().write_reply(reply, asked(EMBED, input="a"), HEAD, EMBED))
    assert newer["embeddings"] == [json.loads(recorded)["embedding"]]
    assert newer["total_duration"] == 500_000_000


def test_vectors_in_base64_are_read_and_written() -> None:
    packed = base64.b64encode(struct.pack("<3f", 0.5, -1.25, 3.0)).decode()
    reply = OpenAIEmbedCodec().read_reply(json.dumps({"data": [{"embedding": packed, "index": 0}]}).encode())
    assert json.loads(reply.vectors[0]) == [0.5, -1.25, 3.0]
    request = asked(OPENAI, input="a", encoding_format="base64")
    out = json.loads(OpenAIEmbedCodec().write_reply(reply, request, HEAD, OPENAI))
    assert out["data"][0]["embedding"] == packed


def test_vectors_that_come_out_of_order_are_put_in_order() -> None:
    data = [{"embedding": [index], "index": index} for index in (2, 0, 1)]
    assert OpenAIEmbedCodec().read_reply(json.dumps({"data": data}).encode()).vectors == (b"[0]", b"[1]", b"[2]")


def test_a_number_that_32_bits_cannot_hold_is_none_in_base64() -> None:
    request = asked(OPENAI, input="x", encoding_format="base64")
    with pytest.raises(InvalidReply):
        codec(OPENAI).write_reply(Embedded((b"[1e300]",)), request, HEAD, OPENAI)


@pytest.mark.parametrize("path", [OPENAI, EMBED])
@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"<html>", b"{}", b"[]", b'{"embeddings":[5]}', b'{"embeddings":["!"]}', b'{"data":[{}]}'],
        *[b'{"data":[{"embedding":{}}]}', b'{"embeddings":[["a"]],"data":[{"embedding":["a"]}]}'],
        b'{"embeddings":["AACAfwAAwH8="],"data":[{"embedding":"AACAfwAAwH8="}]}',  # infinity, and what is no number
        '{"embeddings":["é"],"data":[{"embedding":"é"}]}'.encode(),
    ],
)
def test_what_is_no_reply(path: str, body: bytes) -> None:
    with pytest.raises(InvalidReply):
        codec(path).read_reply(body)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4), max_size=4),
    st.integers(0, 100),
)
def test_a_reply_that_was_written_is_read_the_same(vectors: list[list[float]], tokens: int) -> None:
    reply = Embedded(tuple(json.dumps(vector).encode() for vector in vectors), "embed", tokens)
    for path in (OPENAI, EMBED):
        request = EmbedRequest(model="embed", inputs=("a",) * len(vectors))
        assert codec(path).read_reply(codec(path).write_reply(reply, request, HEAD, path)) == reply
