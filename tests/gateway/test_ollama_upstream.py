"""An Ollama behind the gateway, and callers of Ollama's dialect before it: relayed, translated, and where it fails."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import ollama
import pytest
from harness import serving
from raw_caller import request
from scripted_upstream import Script, Upstream, Visit, answers, chunk, delta, says, streams, upstream

from moltbot_edge.config.schema import Config, Limits, Model
from moltbot_edge.dialects.ollama import PING

pytestmark = pytest.mark.anyio

RECORDED = (Path(__file__).parent.parent / "recordings" / "ollama" / "plain.ndjson").read_bytes()
LINES = RECORDED.splitlines(keepends=True)
WORDS = "".join(json.loads(line)["message"]["content"] for line in LINES)
HELLO = [{"role": "user", "content": "hello"}]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


def ndjson(*pieces: bytes) -> Script:
    async def script(visit: Visit) -> None:
        await visit.send(HEAD)
        await visit.send(*map(chunk, pieces))
        await visit.send(chunk(b""))

    return script


def settings(box: Upstream, kind: str = "ollama", **fields: Any) -> Config:
    return Config(model_registry=[Model(name="chat", endpoint=box.url, type=kind, model="llama3", **fields)])


@pytest.mark.parametrize("at", [1, 40, 200, len(RECORDED) // 2, len(RECORDED) - 1])
async def test_a_stream_passes_as_it_is_however_it_is_cut(at: int) -> None:
    async with upstream(ndjson(RECORDED[:at], RECORDED[at:])) as box, serving(settings(box)) as gateway:
        answer = await gateway.ask({"model": "chat", "messages": HELLO}, path="/api/chat")
        assert (answer.status, answer.header("content-type")) == (200, "application/x-ndjson")
        assert answer.body == RECORDED
        assert json.loads(box.asked[0].body)["model"] == "llama3"
        metrics = await gateway.metrics()
        assert metrics["moltbot_tokens_total", "chat", "output"] == 50


@pytest.mark.parametrize("base", ["", "/", "/v1", "/api"])
async def test_its_address_may_be_written_as_people_know_it(base: str) -> None:
    async with upstream(ndjson(RECORDED)) as box:
        one = Model(name="chat", endpoint=box.url + base, type="ollama")
        async with serving(Config(model_registry=[one])) as gateway:
            await gateway.ask({"model": "chat", "messages": HELLO}, path="/api/chat")
            assert box.asked[0].path == "/api/chat"


async def test_a_caller_of_openais_dialect_gets_events() -> None:
    async with upstream(ndjson(*LINES)) as box, serving(settings(box)) as gateway:
        wish = {"stream": True, "stream_options": {"include_usage": True}, "user": "ann", "max_tokens": 50}
        answer = await gateway.ask({"model": "chat", "messages": HELLO} | wish)
        assert answer.header("content-type") == "text/event-stream; charset=utf-8"
        assert answer.header("x-moltbot-dropped") == "user"
        *events, done = answer.data
        assert done == b"[DONE]"
        said = [json.loads(event) for event in events]
        words = [one["choices"][0]["delta"].get("content") or "" for one in said if one["choices"]]
        assert "".join(words) == WORDS
        assert said[-1]["usage"]["completion_tokens"] == 50
        asked = json.loads(box.asked[0].body)
        assert asked["options"] == {"num_predict": 50}
        assert asked["stream"] is True


async def test_a_caller_of_ollamas_dialect_gets_lines() -> None:
    async with (
        upstream(streams([delta("Why"), delta(" not"), b"data: [DONE]\n\n"])) as box,
        serving(settings(box, "openai-chat")) as gateway,
    ):
        body = {"model": "chat", "messages": HELLO, "options": {"num_ctx": 4096, "seed": 7}, "keep_alive": "5m"}
        answer = await gateway.ask(body, path="/api/chat")
        assert (answer.status, answer.header("content-type")) == (200, "application/x-ndjson")
        assert answer.header("x-moltbot-dropped") == "keep_alive, options.num_ctx"
        assert json.loads(box.asked[0].body)["seed"] == 7


async def test_its_errors_are_told_in_the_callers_words_and_with_its_status() -> None:
    gone = answers(404, b'{"error":"model \'llama3\' not found"}')
    async with upstream(gone) as box, serving(settings(box)) as gateway:
        answer = await gateway.ask({"model": "chat", "messages": HELLO})
        assert (answer.status, answer.error["message"]) == (404, "model 'llama3' not found")
        answer = await gateway.ask({"model": "chat", "messages": HELLO}, path="/api/chat")
        assert (answer.status, answer.json) == (404, {"error": "model 'llama3' not found"})


async def test_an_error_in_the_middle_ends_the_callers_stream_with_one() -> None:
    async with (
        upstream(ndjson(*LINES[:3], b'{"error":"out of memory"}\n')) as box,
        serving(settings(box)) as gateway,
    ):
        answer = await gateway.ask({"model": "chat", "messages": HELLO, "stream": True})
        assert any(b"out of memory" in one for one in answer.data)


async def test_a_wish_that_cannot_be_had_is_refused_before_anybody_is_asked() -> None:
    async with upstream(says()) as box, serving(settings(box)) as gateway:
        answer = await gateway.ask({"model": "chat", "messages": HELLO, "n": 2})
        assert (answer.status, answer.error["param"]) == (400, "n")
        assert box.asked == []
    async with upstream(says()) as box, serving(settings(box, "openai-chat")) as gateway:
        answer = await gateway.ask({"model": "chat", "prompt": "def f(", "suffix": "return"}, path="/api/generate")
        assert answer.status == 400
        assert "suffix" in answer.json["error"]
        assert box.asked == []


async def test_embeddings_both_ways() -> None:
    theirs = {"model": "llama3", "embeddings": [[0.25, -1.5]], "prompt_eval_count": 3}
    async with upstream(answers(200, json.dumps(theirs))) as box, serving(settings(box)) as gateway:
        answer = await gateway.ask({"model": "chat", "input": "a cat"}, path="/v1/embeddings")
        assert answer.json["data"] == [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}]
        assert answer.json["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        assert box.asked[0].path == "/api/embed"
        tokens = await gateway.ask({"model": "chat", "input": [1, 2]}, path="/v1/embeddings")
        assert (tokens.status, tokens.error["param"]) == (400, "input")
    said = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}], "model": "m"}
    async with upstream(answers(200, json.dumps(said))) as box, serving(settings(box, "openai-chat")) as gateway:
        answer = await gateway.ask({"model": "chat", "input": "a cat", "truncate": True}, path="/api/embed")
        assert answer.json["embeddings"] == [[0.25, -1.5]]
        assert answer.header("x-moltbot-dropped") == "truncate"
        older = await gateway.ask({"model": "chat", "prompt": "a cat"}, path="/api/embeddings")
        assert older.json == {"embedding": [0.25, -1.5]}


@pytest.mark.parametrize("kind", ["ollama", "openai-chat"])
@pytest.mark.parametrize(
    ("path", "asked"), [("/api/chat", {"messages": HELLO}), ("/api/generate", {"prompt": "hello"})]
)
async def test_a_silent_upstream_leaves_a_stream_open_with_lines_that_say_nothing(
    kind: str, path: str, asked: dict[str, Any]
) -> None:
    pinged = asyncio.Event()

    async def script(visit: Visit) -> None:
        await pinged.wait()
        await (ndjson(RECORDED) if kind == "ollama" else streams([delta("Why"), b"data: [DONE]\n\n"]))(visit)

    async with upstream(script) as box:
        patient = msgspec.structs.replace(settings(box, kind), limits=Limits(ping_after_s=0.25))
        async with serving(patient) as gateway, gateway.caller() as client:
            await client.send(request({"model": "chat"} | asked, path=path))
            lines = b""
            async for piece in client.pieces(await client.head()):
                lines += piece
                if lines.count(PING) >= 2:
                    pinged.set()
            said = [json.loads(line) for line in lines.splitlines()]
            assert lines.startswith(PING * 2)
            assert [one["done"] for one in said].count(True) == 1
            assert said[-1]["done"] is True


async def test_the_official_client_takes_a_ping_for_nothing_said() -> None:
    pinged = asyncio.Event()

    async def script(visit: Visit) -> None:
        await pinged.wait()
        await ndjson(RECORDED)(visit)

    async with upstream(script) as box:
        patient = msgspec.structs.replace(settings(box), limits=Limits(ping_after_s=0.25))
        async with serving(patient) as gateway, ollama.AsyncClient(host=gateway.url) as client:
            words = ""
            async for piece in await client.chat("chat", messages=HELLO, stream=True):
                words += piece.message.content or ""
                pinged.set()
            assert words == WORDS


@pytest.mark.parametrize("vectors", [[], [[1]], [[1], [2], [3]]])
async def test_vectors_that_are_not_as_many_as_the_texts_are_nobodys(vectors: list[list[int]]) -> None:
    async with upstream(answers(200, json.dumps({"embeddings": vectors}))) as box, serving(settings(box)) as gateway:
        answer = await gateway.ask({"model": "chat", "input": ["a", "b"]}, path="/v1/embeddings")
        assert answer.status == 502
        assert f"{len(vectors)} vectors for 2 texts" in answer.error["message"]
