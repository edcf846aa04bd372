"""A caller who speaks one dialect is answered by an upstream that speaks another: on real sockets, as callers see."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway, serving
from raw_caller import CHAT, QUESTION, Answer, request
from scripted_upstream import (
    DONE,
    STREAM_HEAD,
    Script,
    Upstream,
    Visit,
    answers,
    chunk,
    delta,
    hangs,
    raw,
    says,
    streams,
    upstream,
)

from moltbot_edge.config.schema import Alias, Config, Limits, Model, Router
from moltbot_edge.core.reply import Finished, FinishReason, TextDelta, ToolCallBegan, ToolCallDelta
from moltbot_edge.kernel.registry import Registry

pytestmark = pytest.mark.anyio

RESPONSES = "/v1/responses"
ASKED = {"model": "chat", "input": "hello"}
STREAMED = ASKED | {"stream": True}
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
RECORDINGS = Path(__file__).parents[1] / "recordings"


def config(*upstreams: Upstream, kinds: tuple[str, ...] = ("openai-chat",), **limits: Any) -> Config:
    """Deployments of one alias, in this order; *kinds* are their dialects."""
    each = kinds * len(upstreams) if len(kinds) == 1 else kinds
    return Config(
        model_registry=[
            Model(name="chat", model="their-name", endpoint=one.url, type=kind)
            for one, kind in zip(upstreams, each, strict=True)
        ],
        router=Router(policy="priority"),
        limits=Limits(**limits),
    )


def goes_on(*pieces: bytes) -> Script:
    """A stream whose end never comes."""
    return raw(STREAM_HEAD, *map(chunk, pieces), then="hang")


def events(answer: Answer) -> list[dict[str, Any]]:
    """Of a Responses stream."""
    blocks = answer.body.decode().split("\n\n")
    assert blocks.pop() == "", "the last event is not whole"
    lines = [line for block in blocks for line in block.split("\n") if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def text_of(answer: Answer) -> str:
    return "".join(event["delta"] for event in events(answer) if event["type"] == "response.output_text.delta")


async def ask(gateway: Gateway, body: Any = ASKED, path: str = RESPONSES) -> Answer:
    return await gateway.ask(body, path=path)


async def test_a_whole_reply_is_written_in_the_callers_dialect() -> None:
    async with upstream(says("hi there")) as box, serving(config(box)) as gateway:
        answer = await ask(gateway, ASKED | {"instructions": "be brief"})
    assert answer.status == 200
    assert answer.header("content-type") == "application/json"
    assert answer.json["object"] == "response"
    assert answer.json["model"] == "chat"
    assert answer.json["output"][0]["content"][0]["text"] == "hi there"
    assert answer.json["usage"]["input_tokens"] == 7
    [asked] = box.asked
    assert asked.path == "/v1/chat/completions"
    assert json.loads(asked.body) == {
        "model": "their-name",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
    }


async def test_a_stream_is_written_as_it_comes() -> None:
    async with upstream(streams([delta("hi"), delta(" there"), FINISH, DONE])) as box, serving(config(box)) as gateway:
        answer = await ask(gateway, STREAMED)
    assert answer.status == 200
    assert answer.header("content-type") == "text/event-stream; charset=utf-8"
    assert answer.header("cache-control") == "no-cache, no-transform"
    assert answer.header("x-moltbot-deployment") == "chat"
    said = events(answer)
    assert said[0]["type"] == "response.created"
    assert said[-1]["type"] == "response.completed"
    assert text_of(answer) == "hi there"
    assert json.loads(box.asked[0].body)["stream_options"] == {"include_usage": True}


async def test_what_is_said_is_there_before_the_reply_ends() -> None:
    async with upstream(goes_on(delta("hi"))) as box, serving(config(box)) as gateway:
        async with gateway.caller() as client:
            await client.send(request(STREAMED, path=RESPONSES))
            head = await client.head()
            got = b""
            async for piece in client.pieces(head):
                got += piece
                if b'"hi"' in got:
                    break
            client.leave()
        await box.was_left()


async def test_a_caller_of_chat_is_answered_by_responses() -> None:
    stream = (RECORDINGS / "openai_responses" / "plain.sse").read_bytes()
    async with upstream(streams([stream])) as box, serving(config(box, kinds=("openai-responses",))) as gateway:
        answer = await ask(gateway, QUESTION | {"stream": True, "stream_options": {"include_usage": True}}, CHAT)
    chunks = [json.loads(data) for data in answer.data[:-1]]
    assert answer.data[-1] == b"[DONE]"
    assert {one["object"] for one in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks[:-1])
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert box.asked[0].path == "/v1/responses"


async def test_a_stream_for_a_caller_who_wants_none_and_a_whole_for_one_who_wants_a_stream() -> None:
    pieces = [delta("hi"), delta(" there"), FINISH, DONE]
    async with upstream(streams(pieces), says("hi there")) as box, serving(config(box)) as gateway:
        whole = await ask(gateway)
        streamed = await ask(gateway, STREAMED)
    assert whole.json["output"][0]["content"][0]["text"] == "hi there"
    assert text_of(streamed) == "hi there"


async def test_tokens_are_counted_as_of_a_relayed_reply() -> None:
    recorded = (RECORDINGS / "openai_chat" / "chat.sse").read_bytes()
    async with upstream(streams([recorded])) as box, serving(config(box)) as gateway:
        await ask(gateway, STREAMED)
        metrics = await gateway.metrics()
        assert metrics["moltbot_tokens_total", "chat", "input"] == 44
        assert metrics["moltbot_tokens_total", "chat", "output"] == 22
        assert metrics["moltbot_requests_total", "openai-responses", "chat", "200"] == 1


# What goes wrong at the upstream.


async def test_an_upstreams_error_is_said_in_the_callers_dialect_with_its_status() -> None:
    refusal = json.dumps({"error": {"message": "no such colour", "type": "x", "param": "colour", "code": None}})
    async with upstream(answers(422, refusal)) as box, serving(config(box)) as gateway:
        answer = await ask(gateway)
    assert answer.status == 422
    assert answer.error["message"] == "no such colour"


@pytest.mark.parametrize(
    "broken",
    [
        streams([delta("hi")]),
        raw(STREAM_HEAD, chunk(delta("hi"))),
        raw(STREAM_HEAD, chunk(delta("hi")), then="reset"),
        streams([delta("hi"), b'data: {"error":{"message":"out of memory"}}\n\n']),
        streams([delta("hi"), b"data: nonsense\n\n"]),
    ],
    ids=["ended", "cut", "reset", "error", "nonsense"],
)
async def test_a_stream_that_breaks_off_ends_with_an_error_of_its_own_kind(broken: Script) -> None:
    async with upstream(broken) as box, serving(config(box)) as gateway:
        answer = await ask(gateway, STREAMED)
    assert answer.status == 200
    assert text_of(answer) == "hi"
    assert events(answer)[-1]["type"] in ("error", "response.failed")


@pytest.mark.parametrize(
    "broken",
    [
        raw(),
        answers(500, "{}"),
        answers(200, "nonsense"),
        streams([b'data: {"error":{"message":"out of memory"}}\n\n']),
        streams([b'data: {"id":"x","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'], framing="close"),
    ],
    ids=["closed", "500", "nonsense", "error", "only its beginning"],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_another_is_asked_as_long_as_nothing_was_said(broken: Script, stream: bool) -> None:
    async with upstream(broken) as first, upstream(says("hi")) as second, serving(config(first, second)) as gateway:
        answer = await ask(gateway, ASKED | {"stream": stream})
    assert answer.status == 200
    assert (text_of(answer) if stream else answer.json["output"][0]["content"][0]["text"]) == "hi"
    assert len(first.asked) == 1


async def test_a_reply_that_is_too_long_to_be_held_is_an_error() -> None:
    async with upstream(says("x" * 5000)) as box, serving(config(box, translated_bytes=4096)) as gateway:
        answer = await ask(gateway)
    assert answer.status == 502
    assert "longer than 4096 bytes" in answer.error["message"]


async def test_an_event_that_never_ends_is_an_error() -> None:
    async with upstream(goes_on(b"data: " + b"x" * 5000)) as box, serving(config(box, event_bytes=4096)) as gateway:
        answer = await ask(gateway, STREAMED)
    assert answer.status == 502
    assert "longer than 4096 bytes" in answer.error["message"]


# What cannot be said in the upstream's dialect.


async def test_what_is_malformed_is_refused_with_its_path_and_nobody_is_asked() -> None:
    wrong = {"model": "chat", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}
    async with upstream(says()) as box, serving(config(box, kinds=("openai-responses",))) as gateway:
        answer = await ask(gateway, wrong, CHAT)
        assert not box.asked
    assert answer.status == 400
    assert answer.error["param"] == "messages[0].content[0].image_url.url"
    assert answer.error["type"] == "invalid_request_error"


async def test_a_wish_that_an_upstream_cannot_honour_goes_to_one_that_can() -> None:
    wish = QUESTION | {"n": 2}
    async with upstream(says()) as other, upstream(says("hi")) as same:
        async with serving(config(other, same, kinds=("openai-responses", "openai-chat"))) as gateway:
            answer = await ask(gateway, wish, CHAT)
        assert answer.status == 200
        assert not other.asked
        async with serving(config(other, kinds=("openai-responses",))) as gateway:
            alone = await ask(gateway, wish, CHAT)
    assert alone.status == 400
    assert alone.error["param"] == "n"
    assert not other.asked


async def test_what_is_dropped_is_named() -> None:
    async with upstream(says()) as box, serving(config(box, kinds=("openai-responses",))) as gateway:
        box.play(answers(200, (RECORDINGS / "openai_responses" / "plain.json").read_bytes()))
        answer = await ask(gateway, QUESTION | {"top_k": 5, "id_slot": 3, "a b\r\nx": 1, "c" * 99: 2}, CHAT)
    assert answer.status == 200
    names = str(answer.header("x-moltbot-dropped")).split(", ")
    assert {"top_k", "id_slot"} < set(names)
    assert names[-1] == "..."
    assert answer.header("x") is None


async def test_a_path_that_an_upstreams_dialect_has_not_goes_to_another_or_is_refused() -> None:
    ranked = {"model": "chat", "query": "q", "documents": ["a"]}
    async with upstream(says()) as other, upstream(answers(200, '{"results":[]}')) as same:
        async with serving(config(other, same, kinds=("anthropic-messages", "openai-chat"))) as gateway:
            assert (await ask(gateway, ranked, "/v1/rerank")).json == {"results": []}
        async with serving(config(other, kinds=("anthropic-messages",))) as gateway:
            answer = await ask(gateway, ranked, "/v1/rerank")
    assert not other.asked
    assert answer.status == 400
    assert answer.error["message"] == "/v1/rerank cannot be had of 'chat', whose upstream speaks anthropic-messages"


# The caller's side.


async def test_a_caller_who_leaves_frees_the_upstream_in_every_phase() -> None:
    half = raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{", then="hang")
    going = goes_on(delta("hi"))
    for script, body in ((hangs(), STREAMED), (hangs(), ASKED), (half, ASKED), (going, STREAMED), (going, ASKED)):
        async with upstream(script) as box, serving(config(box)) as gateway:
            async with gateway.caller() as client:
                await client.send(request(body, path=RESPONSES))
                await box.was_asked()
                await asyncio.sleep(0.02)
                client.leave()
            await box.was_left()


async def test_a_caller_who_reads_slowly_holds_up_the_upstream_and_not_the_gateways_memory() -> None:
    async def endless(visit: Visit) -> None:
        await visit.send(STREAM_HEAD)
        while not visit.gone.is_set():
            await visit.send(chunk(delta("x" * 1000)))

    async with upstream(endless) as box, serving(config(box)) as gateway:
        async with gateway.caller(receive_buffer_bytes=8 * 1024) as client:
            await client.send(request(STREAMED, path=RESPONSES))
            await client.head()
            before = -1
            while box.visits[0].sent_bytes != before:
                before = box.visits[0].sent_bytes
                await asyncio.sleep(0.3)
            assert before < 4_000_000
            client.leave()
        await box.was_left()


async def test_pings_keep_a_silent_stream_open_and_the_answer_follows_them() -> None:
    async def late(visit: Visit) -> None:
        await asyncio.sleep(1.5)
        await streams([delta("hi"), FINISH, DONE])(visit)

    async with upstream(late) as box, serving(config(box, ping_after_s=0.5)) as gateway:
        answer = await ask(gateway, STREAMED)
    assert answer.body.startswith(b":")
    assert text_of(answer) == "hi"


async def test_an_error_after_pings_is_an_event() -> None:
    async def late(visit: Visit) -> None:
        await asyncio.sleep(1.5)
        await visit.send(STREAM_HEAD, chunk(b": hm\n\n"))
        await visit.end("close")

    async with upstream(late) as box, serving(config(box, ping_after_s=0.5)) as gateway:
        answer = await ask(gateway, STREAMED)
    assert answer.status == 200
    assert events(answer)[-1]["type"] in ("error", "response.failed")


async def test_a_policy_that_learns_hears_of_translated_replies_too() -> None:
    async with upstream(streams([FINISH, DONE])) as box:
        models = [Model(name=name, endpoint=box.url, type="openai-chat") for name in ("small", "large")]
        auto = Alias(models=["small", "large"], policy="complexity", options={"learn": True})
        async with serving(Config(model_registry=models, aliases={"chat": auto})) as gateway:
            answer = await ask(gateway, STREAMED)
            assert answer.header("x-moltbot-exchange") is not None
            metrics = await gateway.metrics()
            assert metrics["moltbot_lessons_total", "chat", "empty"] == 1


def test_a_gateway_that_relays_imports_no_translation() -> None:
    program = """
import sys
import moltbot_edge.assemble
from moltbot_edge.kernel.registry import Registry
Registry().build("dialect", "openai-chat")
print([name for name in sys.modules if name.endswith(("core.chat", "core.reply", "translate", "_codec", "ollama"))])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


async def test_headers_of_a_callers_own_dialect_stay_here() -> None:
    async with upstream(says("hi")) as box, serving(config(box)) as gateway:
        headers = "openai-organization: org-1", "x-request-id: 7", "anthropic-beta: x"
        await gateway.ask(ASKED, *headers, path=RESPONSES)
        await gateway.ask(QUESTION, *headers)
    translated, relayed = box.asked
    assert [translated.header(name) for name in ("openai-organization", "x-request-id", "anthropic-beta")] == [
        None,
        "7",
        None,
    ]
    assert relayed.header("openai-organization") == "org-1"


async def test_tokens_that_nobody_counted_are_estimated() -> None:
    bare = json.dumps({"choices": [{"message": {"content": "word " * 40}, "finish_reason": "stop"}]})
    async with upstream(answers(200, bare)) as box, serving(config(box)) as gateway:
        usage = (await ask(gateway)).json["usage"]
        assert usage["output_tokens"] == 50
        assert usage["input_tokens"] > 0
        metrics = await gateway.metrics()
        assert metrics["moltbot_tokens_total", "chat", "output"] == 0  # what is estimated teaches nothing


# Every caller, every upstream: what was recorded of one is read from the gateway in the other's dialect.

ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-chat": (CHAT, QUESTION),
    "openai-responses": (RESPONSES, ASKED),
    "anthropic-messages": ("/v1/messages", QUESTION | {"max_tokens": 9}),
    "ollama": ("/api/chat", QUESTION),
}
STREAMS = {
    "openai-chat": ("plain.sse", "tools.sse", "tools_llama_server.sse", "structured_llama_server.sse"),
    "openai-responses": ("plain.sse", "tools.sse", "structured.sse"),
    "anthropic-messages": ("plain.sse", "tools.sse"),
    "ollama": ("plain.ndjson",),
}
WHOLES = {
    "openai-chat": ("plain.json", "structured.json", "tools_llama_server.json"),
    "openai-responses": ("plain.json", "tools.json", "structured.json"),
    "anthropic-messages": ("plain.json", "tools.json", "structured.json"),
    "ollama": ("plain.json",),
}


def meaning(dialect: str, body: bytes, streamed: bool) -> tuple[str, list[tuple[str, Any]], FinishReason | None]:
    """What *body* says: its text, its calls, and how it ended."""
    reader = Registry().build("dialect", dialect).codec().event_reader(streamed)
    found = [*reader.feed(body), *reader.end()]
    text = "".join(one.text for one in found if isinstance(one, TextDelta))
    names = {one.index: one.name for one in found if isinstance(one, ToolCallBegan)}
    arguments = dict.fromkeys(names, "")
    for one in found:
        if isinstance(one, ToolCallDelta):
            arguments[one.index] += one.arguments
    ends = [one.reason for one in found if isinstance(one, Finished)]
    return text, [(names[index], json.loads(arguments[index] or "{}")) for index in names], ends[0] if ends else None


@pytest.mark.parametrize("asked", sorted(ASKS))
@pytest.mark.parametrize("asker", sorted(ASKS))
async def test_what_an_upstream_says_is_what_its_caller_hears(asker: str, asked: str) -> None:
    path, question = ASKS[asker]
    kind = "application/x-ndjson" if asked == "ollama" else "text/event-stream"
    folder = RECORDINGS / asked.replace("-", "_")
    async with upstream(says()) as box, serving(config(box, kinds=(asked,))) as gateway:
        for name in (*STREAMS[asked], *WHOLES[asked]):
            recorded, streamed = (folder / name).read_bytes(), name in STREAMS[asked]
            box.play(answers(200, recorded, kind=kind if streamed else "application/json", framing="chunked"))
            answer = await ask(gateway, question | {"stream": streamed}, path)
            assert answer.status == 200, answer.body
            assert meaning(asker, answer.body, streamed) == meaning(asked, recorded, streamed), name


async def test_what_is_no_text_is_refused_wherever_it_stands() -> None:
    tool = b'{"type":"function","name":"f","parameters":{"type":"ob\xffect"}}'
    async with upstream(says()) as box, serving(config(box)) as gateway:
        answer = await ask(gateway, b'{"model":"chat","input":"hi","tools":[%b]}' % tool)
        assert not box.asked
    assert answer.status == 400
    assert "not JSON" in answer.error["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", QUESTION),
        ("/v1/messages", QUESTION | {"stream": True, "max_tokens": 9}),
        (RESPONSES, STREAMED),
    ],
)
async def test_a_call_that_never_ends_is_not_held_for_ever(path: str, body: dict[str, Any]) -> None:
    calls = [{"index": place, "id": f"c{place}", "function": {"name": "f", "arguments": "{"}} for place in (0, 1)]
    more = [{"index": 1, "function": {"arguments": "x" * 1_000}}]

    def piece(calls: list[dict[str, Any]]) -> bytes:
        return chunk(b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}).encode())

    async def endless(visit: Visit) -> None:
        await visit.send(STREAM_HEAD, piece(calls))
        while not visit.gone.is_set():
            await visit.send(piece(more))

    async with upstream(endless) as box, serving(config(box, translated_bytes=50_000)) as gateway:
        answer = await gateway.ask(body, path=path)
        assert b"longer than 50000 characters" in answer.body
        async with asyncio.timeout(2):
            await box.visits[0].gone.wait()


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/embeddings", {"input": [1, 2]}, {"data": [{"embedding": [1]}]}),
        ("/v1/completions", {"prompt": "x"}, {"choices": [{"text": "y"}]}),
        ("/v1/rerank", {"query": "x", "documents": ["y"]}, {"results": []}),
        ("/v1/images/generations", {"prompt": "x"}, {"data": []}),
    ],
)
async def test_who_speaks_responses_is_asked_for_the_rest_as_openai(path: str, body: dict[str, Any], said: Any) -> None:
    script = answers(200, json.dumps(said))
    async with upstream(script) as box, serving(config(box, kinds=("openai-responses",))) as gateway:
        answer = await gateway.ask({"model": "chat"} | body, path=path)
        assert answer.status == 200
        assert (box.asked[0].path, json.loads(box.asked[0].body)) == (path, {"model": "their-name"} | body)
        box.play(answers(200, '{"output":[],"status":"completed"}'))
        assert (await gateway.ask(QUESTION)).status == 200
        assert box.asked[1].path == "/v1/responses"
