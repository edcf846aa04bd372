"""A chat through the gateway: whole and streamed, many at once, and what a caller is told when it goes wrong."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from binary.served import Served
from raw_caller import QUESTION, request
from scripted_upstream import DONE, STREAM_HEAD, Visit, answers, chunk, delta, says, streams

pytestmark = pytest.mark.anyio

AT_ONCE = 40
DEPTH = 100_000  # C recursion without a limit would end at some 30,000 on a stack of 8 MiB
WORDS = ["one", " two", " three"]


def question(model: str, **more: Any) -> dict[str, Any]:
    return {**QUESTION, "model": model, **more}


async def test_it_is_well(served: Served) -> None:
    assert (await served.gateway.get("/health")).status == 200


async def test_it_lists_its_models(served: Served) -> None:
    answer = await served.gateway.get("/v1/models")
    assert {"chat", "nearest"} <= {model["id"] for model in answer.json["data"]}


async def test_it_counts_what_it_does(served: Served) -> None:
    answer = await served.gateway.get("/metrics")
    assert answer.status == 200
    assert b"# TYPE moltbot_" in answer.body


async def test_what_is_asked_seldom_is_served_as_well(served: Served) -> None:
    answer = await served.gateway.ask({"id": "ex-unknown", "good": True}, path="/v1/feedback")
    assert (answer.status, answer.json["error"]["param"]) == (404, "id")
    refused = await served.gateway.get("/v1/feedback")
    assert (refused.status, refused.header("allow")) == (405, "POST")


async def test_a_whole_reply_comes_as_it_was_said(served: Served) -> None:
    served.near.play(says("good morning"))
    answer = await served.gateway.ask(question("chat"))
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "good morning"
    assert served.near.asked[-1].path == "/v1/chat/completions"


async def test_a_stream_comes_whole(served: Served) -> None:
    served.near.play(streams([*map(delta, WORDS), DONE]))
    answer = await served.gateway.ask(question("chat", stream=True))
    assert answer.status == 200
    assert [word.encode() in event for word, event in zip(WORDS, answer.data[:-1], strict=True)] == [True] * len(WORDS)
    assert answer.data[-1] == b"[DONE]"


async def test_an_event_is_heard_before_the_next_is_said(served: Served) -> None:
    heard = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.send(STREAM_HEAD + chunk(delta(WORDS[0])))
        await heard.wait()
        await visit.send(chunk(DONE) + chunk(b""))

    served.near.play(script)
    async with served.gateway.caller() as caller:
        await caller.send(request(question("chat", stream=True)))
        await caller.head()
        await caller.reader.readuntil(WORDS[0].encode())
        heard.set()
        await caller.reader.readuntil(DONE)


async def test_many_ask_at_once(served: Served) -> None:
    served.near.play(says("to each"))
    served.far.play(streams([delta("to each"), DONE]))
    asked = [question("chat") if number % 2 else question("far", stream=True) for number in range(AT_ONCE)]
    replies = await asyncio.gather(*map(served.gateway.ask, asked))
    assert [reply.status for reply in replies] == [200] * AT_ONCE
    assert all(b"to each" in reply.body for reply in replies)


async def test_a_caller_that_leaves_frees_the_upstream(served: Served) -> None:
    visited = asyncio.get_running_loop().create_future()

    async def script(visit: Visit) -> None:
        await visit.send(STREAM_HEAD + chunk(delta(WORDS[0])))
        visited.set_result(visit)
        await visit.gone.wait()

    served.near.play(script)
    async with served.gateway.caller() as caller:
        await caller.send(request(question("chat", stream=True)))
        visit = await visited
        caller.leave()
        await asyncio.wait_for(visit.gone.wait(), served.gateway.wait_s)


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        (question("no-such-model"), 404, "model_not_found"),
        (b"{", 400, None),
        ({"messages": []}, 400, None),
        (question("gone"), 502, "upstream_unreachable"),
    ],
    ids=["unknown model", "no JSON", "no model", "upstream gone"],
)
async def test_what_goes_wrong_is_an_error_object(served: Served, asked: Any, status: int, code: str | None) -> None:
    answer = await served.gateway.ask(asked)
    assert answer.status == status
    assert answer.header("content-type") == "application/json"
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.error["code"] == code


async def test_an_unknown_model_is_answered_with_those_that_there_are(served: Served) -> None:
    answer = await served.gateway.ask(question("no-such-model"))
    assert "nearest" in answer.error["message"]


async def test_an_upstreams_own_error_is_passed_on(served: Served) -> None:
    refusal = {"error": {"message": "too long", "type": "invalid_request_error", "param": None, "code": "context"}}
    served.near.play(answers(400, json.dumps(refusal)))
    answer = await served.gateway.ask(question("chat"))
    assert (answer.status, answer.json) == (400, refusal)


@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["lists", "objects"])
async def test_depth_without_end_is_refused_and_harms_nobody(served: Served, opening: str) -> None:
    body = f'{{"model": "chat", "messages": {opening * DEPTH}'
    answer = await served.gateway.ask(body.encode())
    assert answer.status == 400
    assert answer.error["message"]
    assert (await served.gateway.get("/health")).status == 200


async def test_a_body_beyond_the_limit_is_refused(served: Served) -> None:
    answer = await served.gateway.ask(None, f"Content-Length: {64 * 1024**2}")
    assert answer.status == 413
    assert answer.error["code"] == "body_too_large"


async def test_a_large_body_arrives_whole(served: Served) -> None:
    served.near.play(says())
    text = "a long story, " * 100_000
    answer = await served.gateway.ask(question("chat", messages=[{"role": "user", "content": text}]))
    assert answer.status == 200
    assert json.loads(served.near.asked[-1].body)["messages"][0]["content"] == text
