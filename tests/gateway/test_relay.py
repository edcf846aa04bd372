"""What passes, passes as it is: requests but for the model's name, replies to the byte, however they were cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway, config, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI
from raw_caller import CHAT, QUESTION, request
from scripted_upstream import (
    DONE,
    Framing,
    answers,
    completion,
    delta,
    raw,
    says,
    streams,
    upstream,
)

from moltbot_edge.config.schema import Config, Model

pytestmark = pytest.mark.anyio

RECORDINGS = Path(__file__).parents[1] / "recordings" / "openai_chat"
STREAMED = QUESTION | {"stream": True}


def recorded(name: str) -> bytes:
    return (RECORDINGS / name).read_bytes()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


async def tokens(gateway: Gateway) -> dict[str, float]:
    metrics = await gateway.metrics()
    return {kind: metrics["moltbot_tokens_total", "chat", kind] for kind in ("input", "output", "cached")}


PATHS = {"chat.sse": CHAT, "chat_without_usage.sse": CHAT, "completion.sse": "/v1/completions"}


# Any cut of a recorded stream is the same stream, and counts the same.

USAGE = {
    "chat.sse": {"input": 44, "output": 22, "cached": 0},
    "chat_without_usage.sse": {"input": 44, "output": 22, "cached": 43},  # its timings say
    "completion.sse": {"input": 4, "output": 8, "cached": 0},
    "structured.json": {"input": 68, "output": 41, "cached": 0},
}


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
async def test_a_recorded_stream_in_single_bytes_is_the_same_stream(newline: bytes, framing: Framing) -> None:
    async with upstream() as box, serving(config(box)) as gateway:
        before = {"input": 0.0, "output": 0.0, "cached": 0.0}
        for name in ("chat.sse", "chat_without_usage.sse", "completion.sse"):
            stream = recorded(name).replace(b"\n", newline)
            box.play(streams(cut(stream, list(range(1, len(stream)))), framing=framing))
            answer = await gateway.ask(STREAMED, path=PATHS[name])
            assert answer.status == 200
            assert answer.body == stream
            after = await tokens(gateway)
            assert {kind: after[kind] - before[kind] for kind in after} == USAGE[name]
            before = after


@st.composite
def cut_recordings(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    name = draw(st.sampled_from(["chat.sse", "completion.sse"]))
    stream = recorded(name).replace(b"\n", draw(st.sampled_from([b"\n", b"\r\n"])))
    return name, cut(stream, sorted(draw(st.sets(st.integers(1, len(stream) - 1), max_size=12))))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=6)
@given(recordings=st.lists(cut_recordings(), min_size=6, max_size=6), framing=st.sampled_from(["chunked", "close"]))
async def test_a_recorded_stream_cut_anywhere_is_the_same_stream(
    recordings: list[tuple[str, list[bytes]]], framing: Framing
) -> None:
    async with upstream() as box, serving(config(box)) as gateway:
        for name, pieces in recordings:
            box.play(streams(pieces, framing=framing))
            assert (await gateway.ask(STREAMED, path=PATHS[name])).body == b"".join(pieces)
        counted = {kind: sum(USAGE[name][kind] for name, _ in recordings) for kind in ("input", "output", "cached")}
        assert await tokens(gateway) == counted


@pytest.mark.parametrize("hold_bytes", [64 * 1024, 100], ids=["held", "passed-on"])
async def test_a_recorded_reply_in_single_bytes_is_the_same_reply(hold_bytes: int) -> None:
    body = recorded("structured.json")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    singly = cut(head + body, list(range(1, len(head + body))))
    async with (
        upstream(raw(*singly, then="keep")) as box,
        serving(config(box, reply_hold_bytes=hold_bytes)) as gateway,
    ):
        answer = await gateway.ask()
        assert answer.body == body
        assert answer.header("content-length") == str(len(body))
        assert await tokens(gateway) == USAGE["structured.json"]


async def test_events_leave_as_they_come() -> None:
    events = [delta("one"), delta("two"), DONE]
    async with upstream(streams(events)) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(request(STREAMED))
        assert [piece async for piece in client.pieces(await client.head())] == events


async def test_a_whole_reply_to_who_asked_for_a_stream_is_counted() -> None:
    body = b'{"x":1,"usage":{"prompt_tokens":5,"completion_tokens":2}}'
    async with upstream(answers(200, body)) as box, serving(config(box)) as gateway:
        assert (await gateway.ask(STREAMED)).body == body
        assert await tokens(gateway) == {"input": 5, "output": 2, "cached": 0}


async def test_the_last_event_may_lack_its_blank_line() -> None:
    async with upstream(streams([delta("one"), b"data: [DONE]"])) as box, serving(config(box)) as gateway:
        assert (await gateway.ask(STREAMED)).body == delta("one") + b"data: [DONE]"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_whole_reply_passes_whatever_its_size_and_framing(framing: Framing) -> None:
    async with upstream() as box, serving(config(box)) as gateway:
        for count, size in enumerate((0, 1, 70_000, 300_000), 1):
            body = b'{"x":"' + b"x" * size + b'","usage":{"prompt_tokens":5,"completion_tokens":2}}'
            box.play(answers(200, body, framing=framing))
            assert (await gateway.ask()).body == body
            assert await tokens(gateway) == {"input": 5 * count, "output": 2 * count, "cached": 0}


# Requests.

RICH: dict[str, Any] = {
    "model": "chat",
    "temperature": 0.30000000000000004,
    "messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR"}}]},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"model": 1}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": "\u2028 Zürich 🏙"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": 1.5e300}}},
    "a field of tomorrow": {"b": [None, True, 12345678901234567890]},
}


@pytest.mark.parametrize("spaced", [True, False], ids=["spaced", "dense"])
async def test_a_body_arrives_as_it_was_said_but_for_the_model(spaced: bool) -> None:
    separators = (" ,\n ", " :  ") if spaced else (",", ":")
    body = json.dumps(RICH, separators=separators).encode()
    async with upstream(says()) as box:
        settings = Config(model_registry=[Model(name="chat", endpoint=box.url, model='their "own"/name')])
        async with serving(settings) as gateway:
            assert (await gateway.ask(body)).status == 200
    model = separators[1].join(['"model"', '"chat"']).encode()
    assert body.count(model) == 1
    assert box.asked[0].body == body.replace(model, model.replace(b'"chat"', b'"their \\"own\\"/name"'))


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"other","messages":[{"role":"user"}],"model":"chat"}',
        b'{"model":"chat","tools":[{"model":"chat","enum":["model"]}]}',
        b'{"mode\\u006c":"chat","x": 1}',
        b'{"x":["model"],"m\\u006fdel":"ch\\u0061t"}',
    ],
    ids=["twice", "in-a-tool", "escaped", "escaped-value"],
)
async def test_the_model_that_was_checked_is_the_model_that_is_asked(body: bytes) -> None:
    async with upstream(says()) as box:
        settings = Config(model_registry=[Model(name="chat", endpoint=box.url, model="theirs")])
        async with serving(settings) as gateway:
            assert (await gateway.ask(body)).status == 200
    asked = box.asked[0].body
    pairs: list[tuple[str, Any]] = json.loads(asked, object_pairs_hook=lambda pairs: pairs)
    assert [value for key, value in pairs if key == "model"] == ["theirs"]
    expected = {key: value for key, value in json.loads(body).items() if key != "model"}
    assert {key: value for key, value in json.loads(asked).items() if key != "model"} == expected


@pytest.mark.parametrize(("base", "below"), [("", "/v1"), ("/v1", "/v1"), ("/some/where/", "/some/where")])
async def test_each_path_leads_below_the_endpoint(base: str, below: str) -> None:
    async with upstream(says()) as box, serving(config(box.url + base)) as gateway:
        for path in ("chat/completions", "completions", "embeddings", "rerank"):
            assert (await gateway.ask(path=f"/v1/{path}?beta=true")).status == 200
            assert box.asked[-1].path == f"{below}/{path}"


async def test_a_callers_key_and_cookies_stay_here() -> None:
    async with upstream(says()) as box:
        settings = Config(
            model_registry=[Model(name="chat", endpoint=box.url, api_key="ours", headers={"X-Team": "red"})]
        )
        async with serving(settings) as gateway:
            await gateway.ask(
                QUESTION,
                "Authorization: Bearer theirs",
                "X-Api-Key: theirs",
                "Cookie: a=b",
                "Connection: keep-alive, X-Hop",
                "X-Hop: 1",
                "X-Forwarded-For: 10.0.0.1",
                "X-Request-Id: abc",
                "Traceparent: 00-1-2-01",
                "Accept-Encoding: gzip",
                "User-Agent: curl",
            )
    assert box.asked[0].headers == [
        ("host", f"127.0.0.1:{box.port}"),
        ("content-type", "application/json"),
        ("accept-encoding", "identity"),
        ("authorization", "Bearer ours"),
        ("x-team", "red"),
        ("x-request-id", "abc"),
        ("traceparent", "00-1-2-01"),
        ("content-length", str(len(json.dumps(QUESTION)))),
    ]


# Replies.

SAID_BY_THEM = (
    "X-Request-Id: req-1",
    "X-Ratelimit-Remaining: 3",
    "OpenAI-Processing-Ms: 12",
    "Server: llama.cpp",
    "Date: Thu, 01 Jan 1970 00:00:00 GMT",
    "Access-Control-Allow-Origin: *",
    "Access-Control-Expose-Headers: x",
    "Set-Cookie: a=b",
    "Keep-Alive: timeout=5, max=100",
    "Alt-Svc: h3",
    "Strict-Transport-Security: max-age=1",
)


def names_of(headers: list[tuple[str, str]]) -> set[str]:
    return {name for name, _ in headers}


async def test_a_replys_headers_pass_but_for_the_connections_own() -> None:
    async with upstream(answers(201, completion(), *SAID_BY_THEM)) as box, serving(config(box)) as gateway:
        answer = await gateway.ask()
    assert answer.status == 201
    assert answer.body == completion()
    assert names_of(answer.headers) == {
        "date", "content-type", "content-length",
        "x-request-id", "x-ratelimit-remaining", "openai-processing-ms",
        "x-moltbot-deployment", "x-moltbot-policy",
    }  # fmt: skip
    assert len(answer.headers) == len(names_of(answer.headers))
    assert answer.header("x-moltbot-deployment") == "chat"
    assert answer.header("date") != "Thu, 01 Jan 1970 00:00:00 GMT"


async def test_a_streams_headers_pass_and_tell_proxies_not_to_gather() -> None:
    head = [
        b"HTTP/1.1 200 OK",
        b"Content-Type: text/event-stream",
        b"Cache-Control: max-age=9",
        b"X-Accel-Buffering: yes",
    ]
    head += [line.encode() for line in SAID_BY_THEM]
    sent = b"\r\n".join([*head, b"", delta("hi") + DONE])
    async with upstream(raw(sent)) as box, serving(config(box)) as gateway:
        answer = await gateway.ask(STREAMED)
    assert answer.body == delta("hi") + DONE
    assert names_of(answer.headers) == {
        "date", "content-type", "transfer-encoding", "cache-control", "x-accel-buffering",
        "x-request-id", "x-ratelimit-remaining", "openai-processing-ms",
        "x-moltbot-deployment", "x-moltbot-policy",
    }  # fmt: skip
    assert len(answer.headers) == len(names_of(answer.headers))
    assert answer.header("x-accel-buffering") == "no"
    assert answer.header("cache-control") == "no-cache, no-transform"


async def test_the_openai_client_reads_both() -> None:
    async with (
        upstream(says("whole"), streams([recorded("chat.sse")])) as box,
        serving(config(box)) as gateway,
        AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
    ):
        whole = await client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hello"}])
        assert whole.choices[0].message.content == "whole"
        streamed = await client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        text = "".join([part.choices[0].delta.content or "" async for part in streamed if part.choices])
        assert text.startswith("Zürich")
