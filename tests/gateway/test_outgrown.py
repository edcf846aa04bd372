"""Conversations that outgrow a model's window: what it is sent, what the caller is told, and who is asked instead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from harness import Gateway, serving
from scripted_upstream import Asked, Script, Upstream, Visit, answers, completion, hangs, says, upstream

from moltbot_edge.config.schema import Alias, Config, Limits, Model, Router, Sessions

pytestmark = pytest.mark.anyio

SESSION = "x-moltbot-session: talk"
SYSTEM = {"role": "system", "content": "You are brief."}


def words(some_tokens: int, first: str = "") -> str:
    return first + "abc" * some_tokens


def asks(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": text}], **more}


def sent(box: Upstream, place: int = -1) -> list[str]:
    return contents(box.asked[place])


def contents(asked: Asked) -> list[str]:
    found = [one["content"] or "" for one in json.loads(asked.body)["messages"]]
    return [one if isinstance(one, str) else "\n".join(part["text"] for part in one) for one in found]


def tokens(asked: Asked) -> int:
    """As a model might count what it was sent: three letters each, and what stands around a message."""
    return sum(len(content) // 3 + 5 for content in contents(asked))


def engine(window_tokens: int, reply: str = "Yes.") -> Script:
    """As a llama-server: counts what it reads, and refuses what is longer than its window."""

    async def script(visit: Visit) -> None:
        count = tokens(visit.asked)
        if count > window_tokens:
            message = f"request ({count} tokens) exceeds the available context size ({window_tokens} tokens)"
            error = {"code": 400, "message": message, "type": "exceed_context_size_error"}
            await answers(400, json.dumps({"error": error}).encode())(visit)
            return
        said = json.loads(completion(reply))
        said["usage"] = {"prompt_tokens": count, "completion_tokens": 2, "total_tokens": count + 2}
        await answers(200, json.dumps(said).encode())(visit)

    return script


def config(
    box: Upstream,
    window: int | None = 1024,
    more: tuple[Model, ...] = (),
    limits: Limits | None = None,
    **sessions: Any,
) -> Config:
    chat = Model(name="chat", endpoint=box.url, context_tokens=window)
    kept = Sessions(**({"store": "memory"} | sessions))
    return Config(model_registry=[chat, *more], sessions=kept, limits=limits or Limits())


@asynccontextmanager
async def talking(
    script: Script, window: int | None = 1024, **sessions: Any
) -> AsyncIterator[tuple[Upstream, Gateway]]:
    async with upstream(script) as box, serving(config(box, window, **sessions)) as gateway:
        yield box, gateway


async def turns(gateway: Gateway, session: str = "talk") -> list[dict[str, Any]]:
    answer = await gateway.get(f"/v1/sessions/{session}/export")
    return [json.loads(line) for line in answer.body.splitlines()[1:]]


async def test_a_conversation_that_outgrows_the_window_goes_on() -> None:
    async with talking(engine(1024)) as (box, gateway):
        for place in range(30):
            said = [SYSTEM, {"role": "user", "content": words(60, f"{place} ")}]
            answer = await gateway.ask({"model": "chat", "messages": said}, SESSION)
            assert answer.status == 200
        assert len(box.asked) == 30, "nothing was refused"
        assert max(map(tokens, box.asked)) > 600, "the window is made use of"
        assert all(sent(box, place)[0] == "You are brief." for place in range(30))
        assert len(await turns(gateway)) == 30, "all of it is kept"


async def test_the_prompt_begins_as_before_for_many_turns() -> None:
    async with talking(engine(1024)) as (box, gateway):
        for place in range(40):
            await gateway.ask(asks(words(60, f"{place} ")), SESSION)
        cuts = sum(
            sent(box, later)[: len(sent(box, place))] != sent(box, place) for place, later in pairwise(range(40))
        )
        assert 3 <= cuts <= 10


async def test_what_was_left_out_is_said_in_headers_and_in_usage() -> None:
    async with talking(engine(1024)) as (box, gateway):
        for _ in range(20):
            answer = await gateway.ask(asks(words(60)), SESSION)
        turns_left_out = (39 - len(sent(box))) // 2
        assert answer.header("x-moltbot-dropped") == "session.turns"
        said = answer.header("x-moltbot-fitted")
        assert said is not None
        assert said.startswith(f"turns={turns_left_out}, tokens=")
        left_out = int(said.rpartition("=")[2])
        assert answer.json["usage"]["left_out_tokens"] == left_out
        assert left_out == pytest.approx(turns_left_out * 72, rel=0.2)
        kept = (await turns(gateway))[-1]
        assert kept["dropped"] == ["session.turns"]
        metrics = await gateway.metrics()
        assert metrics["moltbot_session_turns_left_out_total", "dropped"] > 0


async def test_a_stream_says_it_too() -> None:
    async with talking(engine(1024)) as (_, gateway):
        for _ in range(20):
            await gateway.ask(asks(words(60)), SESSION)
        usage = {"stream_options": {"include_usage": True}}
        answer = await gateway.ask(asks("and now?", stream=True, **usage), SESSION)
        assert answer.header("x-moltbot-dropped") == "session.turns"
        said = answer.header("x-moltbot-fitted")
        assert said is not None
        last = json.loads(answer.data[-2])
        assert f"tokens={last['usage']['left_out_tokens']}" in said
        assert len((await turns(gateway))[-1]["cut"]["turn"]) == 26


async def test_every_dialect_says_what_cannot_fit() -> None:
    async with talking(engine(1024)) as (_, gateway):
        said = [{"role": "user", "content": words(5000)}]
        bodies: dict[str, dict[str, Any]] = {
            "/v1/messages": {"max_tokens": 10, "messages": said},
            "/v1/responses": {"input": words(5000)},
            "/api/chat": {"messages": said},
        }
        for path, body in bodies.items():
            answer = await gateway.ask({"model": "chat", **body}, SESSION, path=path)
            assert answer.status == 400
            assert b"prompt is too long: about" in answer.body


async def test_where_it_fits_nothing_is_said() -> None:
    async with talking(engine(1024)) as (_, gateway):
        answer = await gateway.ask(asks("hello"), SESSION)
        assert answer.header("x-moltbot-fitted") is None
        assert "left_out_tokens" not in answer.json["usage"]


async def test_a_message_that_fits_no_window_is_refused_with_the_numbers() -> None:
    async with talking(engine(1024)) as (box, gateway):
        await gateway.ask(asks("hello"), SESSION)
        answer = await gateway.ask(asks(words(5000)), SESSION)
        assert answer.status == 400
        error = answer.json["error"]
        assert error["code"] == "context_length_exceeded"
        assert "the message 5" in error["message"]
        assert "chat takes 1024" in error["message"]
        assert len(box.asked) == 1
        assert (await gateway.ask(asks("shorter"), SESSION)).status == 200


async def test_a_larger_model_of_the_alias_is_asked_for_all_of_it() -> None:
    async with upstream(engine(1024)) as small, upstream(engine(100_000)) as large:
        settings = Config(
            model_registry=[
                Model(name="small", endpoint=small.url, context_tokens=1024),
                Model(name="large", endpoint=large.url, context_tokens=100_000),
            ],
            aliases={"chat": Alias(models=["small", "large"], policy="priority")},
            sessions=Sessions(store="memory"),
        )
        async with serving(settings) as gateway:
            for _ in range(20):
                answer = await gateway.ask(asks(words(60)), SESSION)
                assert answer.header("x-moltbot-fitted") is None
            assert answer.header("x-moltbot-deployment") == "large"
            assert len(sent(large)) == 39
            answer = await gateway.ask(asks(words(5000)), SESSION)
            assert answer.status == 200


async def test_a_context_fallback_is_asked_for_all_of_it() -> None:
    async with upstream(engine(1024)) as small, upstream(engine(100_000)) as large:
        settings = Config(
            model_registry=[
                Model(name="small", endpoint=small.url, context_tokens=1024),
                Model(name="large", endpoint=large.url),
            ],
            aliases={"chat": "small"},
            router=Router(context_fallbacks={"chat": ["large"]}),
            sessions=Sessions(store="memory"),
        )
        async with serving(settings) as gateway:
            for _ in range(20):
                answer = await gateway.ask(asks(words(60)), SESSION)
            assert answer.header("x-moltbot-deployment") == "large"
            assert len(sent(large)) == 39


async def test_a_model_that_refuses_is_asked_again_with_less() -> None:
    async with talking(engine(1024), window=None) as (box, gateway):
        for place in range(30):
            answer = await gateway.ask(asks(words(60)), SESSION)
            assert answer.status == 200, place
        assert len(box.asked) == 31, "its window is known from one refusal"
        assert answer.header("x-moltbot-dropped") == "session.turns"


async def test_a_server_that_counts_the_reply_as_taken_is_asked_again_with_less() -> None:
    """As vLLM and OpenAI do: a prompt that fits is refused for the `max_tokens` that come with it."""

    async def reserving(visit: Visit) -> None:
        count, wanted = tokens(visit.asked), json.loads(visit.asked.body)["max_tokens"]
        if count + wanted <= 1024:
            await says("Yes.")(visit)
            return
        message = (
            f"This model's maximum context length is 1024 tokens, however you requested {count + wanted} tokens "
            f"({count} in the messages, {wanted} in the completion)."
        )
        error = {"message": message, "code": "context_length_exceeded"}
        await answers(400, json.dumps({"error": error}).encode())(visit)

    async with talking(reserving) as (box, gateway):
        for place in range(15):
            answer = await gateway.ask(asks(words(60), max_tokens=700), SESSION)
            assert answer.status == 200, place
        assert len(box.asked) == 16


async def test_a_model_that_refuses_without_a_number_is_asked_once_more() -> None:
    refused = json.dumps({"error": {"message": "the prompt exceeds the context window", "code": 400}}).encode()

    async with talking(engine(10_000), window=None) as (box, gateway):
        for _ in range(12):
            await gateway.ask(asks(words(60)), SESSION)
        box.play(answers(400, refused), says("With less."))
        answer = await gateway.ask(asks(words(60)), SESSION)
        assert answer.status == 200
        assert len(sent(box)) < len(sent(box, -2))
        box.play(answers(400, refused))
        answer = await gateway.ask(asks(words(60)), SESSION)
        assert answer.status == 400
        assert answer.json["error"]["code"] == "context_length_exceeded"
        assert len(box.asked) == 12 + 2 + 2


async def test_a_refused_first_message_is_not_asked_again() -> None:
    async with talking(engine(100), window=None) as (box, gateway):
        answer = await gateway.ask(asks(words(200)), SESSION)
        assert answer.status == 400
        assert answer.json["error"]["code"] == "context_length_exceeded"
        assert len(box.asked) == 1


async def test_a_call_and_its_result_are_sent_together() -> None:
    async with talking(engine(1024)) as (box, gateway):
        call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        for place in range(12):
            said = [
                {"role": "user", "content": words(30, f"{place} ")},
                {"role": "assistant", "content": "", "tool_calls": [{**call, "id": f"call_{place}"}]},
                {"role": "tool", "tool_call_id": f"call_{place}", "content": words(60)},
            ]
            answer = await gateway.ask({"model": "chat", "messages": said}, SESSION)
            assert answer.status == 200
            messages = json.loads(box.asked[-1].body)["messages"]
            calls = [one["id"] for message in messages for one in message.get("tool_calls") or []]
            results = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
            assert calls == results
        assert answer.header("x-moltbot-fitted") is not None


# Summaries.

SUMMARY: dict[str, Any] = {"summary_model": "scribe", "summary_tokens": 64}


@asynccontextmanager
async def summing(
    script: Script, window: int | None = 1024, limits: Limits | None = None, **sessions: Any
) -> AsyncIterator[tuple[Upstream, Upstream, Gateway]]:
    async with upstream(engine(1024)) as box, upstream(script) as scribe:
        more = (Model(name="scribe", endpoint=scribe.url),)
        settings = config(box, window, more, limits, **(SUMMARY | sessions))
        async with serving(settings) as gateway:
            yield box, scribe, gateway


async def test_older_turns_are_summed_up_once_for_each_cut() -> None:
    async with summing(says("They spoke of abc.")) as (box, scribe, gateway):
        told, fits = [], []
        for place in range(30):
            answer = await gateway.ask(asks(words(60, f"{place} ")), SESSION)
            fits.append(answer.header("x-moltbot-fitted"))
            told.append(sent(box)[0])
        assert "They spoke of abc." in told[-1]
        assert str(fits[-1]).endswith(", summarised")
        assert len(scribe.asked) == len({fit.partition(",")[0] for fit in fits if fit}), "one for each cut"
        assert 2 <= len(scribe.asked) <= 8
        first, second = (json.loads(one.body) for one in scribe.asked[:2])
        assert first["model"] == "scribe"
        assert first["max_tokens"] == 64
        assert "User: 0 abc" in first["messages"][1]["content"]
        assert "(Before that:) They spoke of abc." in second["messages"][1]["content"]
        assert "User: 0 abc" not in second["messages"][1]["content"]
        metrics = await gateway.metrics()
        assert metrics["moltbot_session_turns_left_out_total", "summarised"] > 0


async def test_a_summary_outlives_the_gateway(tmp_path: Any) -> None:
    async with upstream(engine(1024)) as box, upstream(says("They spoke of abc.")) as scribe:
        more = (Model(name="scribe", endpoint=scribe.url),)
        settings = config(box, 1024, more, store="disk", path=str(tmp_path / "kept"), **SUMMARY)
        async with serving(settings) as gateway:
            for _ in range(12):
                await gateway.ask(asks(words(60)), SESSION)
        made, before = len(scribe.asked), sent(box)
        assert made
        async with serving(settings) as gateway:
            await gateway.ask(asks("and now?"), SESSION)
        assert len(scribe.asked) == made
        assert sent(box)[: len(before)] == before


@pytest.mark.parametrize("script", [answers(500, b"{}"), says(""), answers(200, b"what?")])
async def test_where_no_summary_comes_older_turns_are_dropped(script: Script) -> None:
    async with summing(script) as (_, scribe, gateway):
        for _ in range(14):
            answer = await gateway.ask(asks(words(60)), SESSION)
            assert answer.status == 200
        said = answer.header("x-moltbot-fitted")
        assert said is not None
        assert "summarised" not in said
        assert len(scribe.asked) <= 4, "a failure is not tried again at each turn"


async def test_a_summary_that_takes_too_long_is_done_without() -> None:
    async with summing(hangs(), summary_s=0.2) as (_, scribe, gateway):
        for _ in range(12):
            answer = await gateway.ask(asks(words(60)), SESSION)
            assert answer.status == 200
        assert answer.header("x-moltbot-fitted")
        await scribe.was_left()


async def test_a_caller_who_streams_hears_pings_meanwhile() -> None:
    freed = asyncio.Event()

    async def slow(visit: Visit) -> None:
        await freed.wait()
        await says("They spoke of abc.")(visit)

    async with summing(slow, limits=Limits(ping_after_s=0.1)) as (_, scribe, gateway):
        for _ in range(10):
            await gateway.ask(asks(words(60)), SESSION)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(gateway.ask(asks(words(200), stream=True), SESSION))
            await scribe.was_asked()
            await gateway.until(lambda metrics: metrics.get(("moltbot_pings_total",), 0) >= 1)
            freed.set()
        assert b": ping" in asking.result().body


async def test_a_model_that_sums_up_for_itself_waits_for_nobody() -> None:
    """One place at the upstream, which also makes the summary: neither waits for the other."""
    async with upstream(engine(1024, "They spoke of abc.")) as box:
        mine: dict[str, Any] = SUMMARY | {"summary_model": "chat", "summary_prompt_tokens": 300}
        settings = config(box, 1024, limits=Limits(connections=1), **mine)
        async with serving(settings) as gateway:
            for _ in range(12):
                answer = await gateway.ask(asks(words(60)), SESSION)
                assert answer.status == 200
            assert str(answer.header("x-moltbot-fitted")).endswith("summarised")


async def test_a_caller_who_leaves_meanwhile_frees_whoever_makes_the_summary() -> None:
    async with summing(hangs()) as (_, scribe, gateway):
        for _ in range(10):
            await gateway.ask(asks(words(60)), SESSION)
        async with gateway.caller() as client:
            task = asyncio.create_task(client.ask(asks(words(200)), SESSION))
            await scribe.was_asked()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await scribe.was_left()
        await gateway.is_empty()
