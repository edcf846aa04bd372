"""One deployment after another until one answers, and what the caller hears when none does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness import config, serving
from openai import APIError, AsyncOpenAI
from raw_caller import QUESTION, Cut, request
from scripted_upstream import (
    STREAM_HEAD,
    Script,
    Visit,
    answers,
    chunk,
    completion,
    delta,
    half_closed,
    hangs,
    never_accepting,
    raw,
    refusing,
    says,
    streams,
    upstream,
)

from moltbot_edge.config.schema import Alias, Config, Limits, Model, Router

pytestmark = pytest.mark.anyio

STREAMED = QUESTION | {"stream": True}
BOTH = pytest.mark.parametrize("body", [QUESTION, STREAMED], ids=["whole", "streamed"])
TICK_S = 0.25  # the least that a time limit comes to
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TOO_LONG = b"X-Long: " + b"x" * 30_000 + b"\r\n"


def error(message: str) -> str:
    return f'{{"error": {{"message": "{message}", "type": "theirs"}}}}'


# Each is what an upstream does before a byte of an answer, and the status and code that the caller gets for it.
FAILURES: dict[str, tuple[Script, int, str | None]] = {
    "closes": (raw(), 502, "upstream_closed"),
    "resets": (raw(then="reset"), 502, "upstream_closed"),
    "hangs": (hangs(), 504, "upstream_timeout"),
    "half-a-head": (raw(b"HTTP/1.1 200 OK\r\nContent-"), 502, "upstream_truncated_reply"),
    "half-a-head-then-hangs": (raw(b"HTTP/1.1 200 OK\r\nContent-", then="hang"), 504, "upstream_timeout"),
    "not-http": (raw(b"SSH-2.0-OpenSSH_9.2\r\n", then="hang"), 502, "upstream_invalid_reply"),
    "endless-headers": (raw(b"HTTP/1.1 200 OK\r\n", *[TOO_LONG] * 9), 502, "upstream_invalid_reply"),
    "redirects": (answers(307, b"", "Location: http://elsewhere/v1"), 502, "upstream_invalid_reply"),
    "unauthorized": (answers(401, error("your key is wrong")), 502, "upstream_refused"),
    "forbidden": (answers(403, error("your key may not")), 502, "upstream_refused"),
    "error": (answers(500, error("theirs")), 500, None),
    "bare-error": (answers(500, "<h1>oops</h1>", kind="text/html"), 500, "upstream_refused"),
    "empty-error": (answers(503, b""), 503, "upstream_refused"),
    "cut-error": (raw(b"HTTP/1.1 500 X\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"), 500,
        "upstream_refused"),
    "no-such-model": (answers(404, error("theirs")), 404, None),
    "busy": (answers(429, error("theirs"), "Retry-After: 7"), 429, None),
    "short": (raw(HEAD + b"Content-Length: 99\r\n\r\n{"), 502, "upstream_truncated_reply"),
    "short-chunk": (raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{"), 502, "upstream_truncated_reply"),
    "reset-in-the-middle": (raw(HEAD + b"Content-Length: 99\r\n\r\n{", then="reset"), 502, "upstream_truncated_reply"),
    "silent-in-the-middle": (raw(HEAD + b"Content-Length: 99\r\n\r\n{", then="hang"), 504, "upstream_timeout"),
    "invalid-chunk": (raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nno\r\n"), 502, "upstream_invalid_reply"),
    "empty-stream": (streams([]), 502, "upstream_truncated_reply"),
    "cut-stream": (raw(STREAM_HEAD + chunk(b"data: ha")), 502, "upstream_truncated_reply"),
    "error-as-a-stream": (streams([b"data: " + error("theirs").encode() + b"\n\n"]), 502, "upstream_invalid_reply"),
    "error-as-an-answer": (answers(200, error("theirs")), 502, "upstream_invalid_reply"),
    "no-json": (answers(200, "<html>log in</html>", kind="text/html"), 502, "upstream_invalid_reply"),
    "half-of-the-json": (answers(200, completion("hi")[:-9], framing="close"), 502, "upstream_invalid_reply"),
    "nothing": (answers(200, b""), 502, "upstream_invalid_reply"),
    "half-closed": (half_closed(), 502, "upstream_closed"),
    "endless-event": (streams([b"data: ", *[b"x" * 1000] * 9]), 502, "upstream_invalid_reply"),
}  # fmt: skip
SMALL: dict[str, Any] = {"first_byte_s": TICK_S, "between_bytes_s": TICK_S, "event_bytes": 5_000}


@BOTH
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_is_told_clearly_and_another_deployment_is_asked_instead(failure: str, body: Any) -> None:
    script, status, code = FAILURES[failure]
    async with upstream(script) as bad, upstream(says("hi")) as good:
        settings = Config(
            model_registry=[Model(name="bad", endpoint=bad.url), Model(name="good", endpoint=good.url)],
            aliases={"either": Alias(models=["bad", "good"])},
            router=Router(policy="round-robin"),
            limits=Limits(first_byte_s=TICK_S, between_bytes_s=TICK_S, event_bytes=5_000),
        )
        async with serving(settings) as gateway, gateway.caller() as client:
            answer = await client.ask(body | {"model": "either"})
            assert answer.body == completion("hi")
            assert answer.header("x-moltbot-deployment") == "good"
            metrics = await gateway.metrics()
            assert metrics["moltbot_attempts_total", "bad", code or "upstream_refused"] == 1
            assert metrics["moltbot_attempts_total", "good", "ok"] == 1

            answer = await client.ask(body | {"model": "bad"})
            assert (answer.status, answer.error.get("code")) == (status, code)
            assert answer.header("content-type") == "application/json"
            assert answer.error["message"] == "theirs" or names(answer.error["message"], "bad", bad.port)

            bad.play(says("better"))  # and the caller's connection is good for it
            assert (await client.ask(body | {"model": "bad"})).body == completion("better")


def names(message: str, deployment: str, port: int) -> bool:
    return message.startswith((f"{deployment} ", f"127.0.0.1:{port} "))


@BOTH
async def test_an_address_that_refuses_or_does_not_accept_is_passed_over(body: Any) -> None:
    with refusing() as closed, never_accepting() as full:
        async with serving(config(closed)) as gateway:
            answer = await gateway.ask(body)
            assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
            assert closed.removeprefix("http://") in answer.error["message"]
        async with serving(config(full, connect_s=0.05)) as gateway:
            answer = await gateway.ask(body)
            assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
        async with upstream(says()) as good, serving(config(closed, full, good, connect_s=0.05)) as gateway:
            assert (await gateway.ask(body)).status == 200


@BOTH
@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_request_at_fault_is_asked_nowhere_else(status: int, body: Any) -> None:
    said = error("`temperature` must be a number")
    async with (
        upstream(answers(status, said)) as first,
        upstream(says()) as second,
        serving(config(first, second)) as gateway,
    ):
        answer = await gateway.ask(body)
        assert answer.status == status
        assert answer.body == said.encode()
        assert second.asked == []
        assert (await gateway.ask(body)).status == 200
        # nothing was learned against the first: a caller's mistake is no reason to leave it out
        assert (await gateway.ask(body)).status == status


@BOTH
async def test_an_upstreams_own_error_passes_with_its_retry_after(body: Any) -> None:
    said = error("slow down")
    async with upstream(answers(429, said, "Retry-After: 7")) as box, serving(config(box)) as gateway:
        answer = await gateway.ask(body)
        assert answer.status == 429
        assert answer.header("retry-after") == "7"
        assert answer.body == said.encode()


async def test_an_error_too_long_to_keep_is_told_in_our_words() -> None:
    async with upstream(answers(500, error("x" * 200_000))) as box, serving(config(box)) as gateway:
        answer = await gateway.ask()
        assert answer.status == 500
        assert answer.error["code"] == "upstream_refused"


@BOTH
async def test_no_more_deployments_are_asked_than_configured(body: Any) -> None:
    async with (
        upstream(answers(500, error("one"))) as one,
        upstream(answers(500, error("two"))) as two,
        upstream(says()) as three,
        serving(config(one, two, three, attempts=2)) as gateway,
    ):
        answer = await gateway.ask(body)
        assert answer.error["message"] == "two"
        assert [len(box.asked) for box in (one, two, three)] == [1, 1, 0]


async def test_a_deployment_that_failed_rests_and_the_others_answer() -> None:
    async with upstream(raw()) as bad, upstream(says()) as good, serving(config(bad, good)) as gateway:
        bad.on_probe = answers(503)  # however slow this machine is, it does not come back meanwhile
        for _ in range(4):
            assert (await gateway.ask()).status == 200
        assert len(bad.asked) == 1


async def test_a_full_upstream_is_passed_over() -> None:
    async with (
        upstream(hangs()) as busy,
        upstream(says()) as good,
        serving(config(busy, good, connections=1)) as gateway,
        gateway.caller() as first,
    ):
        await first.send(request())
        await busy.was_asked()
        for _ in range(4):  # every second one is its turn, and it has no room
            assert (await gateway.ask()).status == 200
        assert len(busy.asked) == 1
        metrics = await gateway.metrics()
        assert metrics["moltbot_decisions_total", "chat", "round-robin", "room"] == 2


async def test_who_waits_for_a_full_upstream_goes_to_another_that_is_free_sooner() -> None:
    ends = asyncio.Event()

    async def later(visit: Visit) -> None:
        await ends.wait()
        await says("later")(visit)

    async with (
        upstream(hangs()) as busy,
        upstream(later, says("served")) as other,
        serving(config(busy, other, connections=1)) as gateway,
        gateway.caller() as first,
        gateway.caller() as second,
        gateway.caller() as third,
    ):
        await first.send(request())
        await busy.was_asked()
        await second.send(request())
        await other.was_asked()
        await third.send(request())
        await gateway.until(lambda metrics: metrics["moltbot_upstream_waiting", f"127.0.0.1:{busy.port}"] == 1)
        ends.set()
        assert (await third.reply()).body == completion("served")
        assert len(busy.asked) == 1
        assert (await second.reply()).body == completion("later")


async def test_a_full_upstream_alone_is_a_503_with_a_time_to_come_back() -> None:
    async with (
        upstream(hangs()) as busy,
        serving(config(busy, connections=1, queue=1, queue_s=0.1)) as gateway,
        gateway.caller() as first,
    ):
        await first.send(request())
        await busy.was_asked()
        async with asyncio.TaskGroup() as tasks:
            refused = [tasks.create_task(gateway.ask()) for _ in range(3)]
        for answer in (one.result() for one in refused):
            assert (answer.status, answer.error["code"]) == (503, "overloaded")
            assert int(answer.header("retry-after") or "0") >= 1


# After the first byte.


ENDINGS: dict[str, Script] = {
    "closes": raw(STREAM_HEAD + chunk(delta("one")), chunk(b"data: {half")),
    "closes-between-events": raw(STREAM_HEAD + chunk(delta("one"))),
    "resets": raw(STREAM_HEAD + chunk(delta("one")), chunk(b"data: {half"), then="reset"),
    "hangs": raw(STREAM_HEAD + chunk(delta("one")), chunk(b"data: {half"), then="hang"),
    "invalid-chunk": raw(STREAM_HEAD + chunk(delta("one")), b"no\r\n"),
    "endless-event": streams([delta("one"), b"data: ", *[b"x" * 1000] * 9]),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_stream_that_breaks_off_ends_with_an_error_event_after_whole_events_only(ending: str) -> None:
    async with (
        upstream(ENDINGS[ending]) as bad,
        upstream(says()) as good,
        serving(config(bad, good, **SMALL)) as gateway,
    ):
        answer = await gateway.ask(STREAMED)
        assert answer.status == 200
        said, told, done = answer.data
        assert said == delta("one").removeprefix(b"data: ").strip()
        assert b'"error"' in told
        assert b'"code":"upstream_' in told
        assert done == b"[DONE]"
        assert good.asked == []


async def test_the_openai_client_raises_what_the_error_event_says() -> None:
    async with (
        upstream(ENDINGS["closes"]) as box,
        serving(config(box)) as gateway,
        AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        with pytest.raises(APIError, match="broke off"):
            _ = [part async for part in stream]


@BOTH
@pytest.mark.parametrize("framing", [b"Content-Length: 200000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n30d40\r\n"])
async def test_a_long_reply_that_breaks_off_is_cut_and_not_ended(framing: bytes, body: Any) -> None:
    half = b"x" * 100_000
    async with (
        upstream(raw(HEAD + framing, half)) as bad,
        upstream(says()) as good,
        serving(config(bad, good)) as gateway,
    ):
        with pytest.raises(Cut) as cut:
            await gateway.ask(body)
        assert half.startswith(cut.value.got)
        assert good.asked == []


async def test_a_long_reply_that_falls_silent_is_cut_and_gets_no_ping() -> None:
    half = b"x" * 100_000
    script = raw(HEAD + b"Content-Length: 200000\r\n\r\n" + half, then="hang")
    async with upstream(script) as box, serving(config(box, between_bytes_s=3 * TICK_S, ping_after_s=0.1)) as gateway:
        with pytest.raises(Cut) as cut:
            await gateway.ask(STREAMED)
        assert half.startswith(cut.value.got)


# Aliases and bodies.


async def test_aliases_lead_to_every_deployment_of_their_models() -> None:
    async with upstream(answers(500, error("x"))) as one, upstream(says("from two")) as two:
        settings = Config(
            model_registry=[Model(name="a", endpoint=one.url), Model(name="b", endpoint=two.url, model="bb")],
            aliases={"either": Alias(models=["a", "b"]), "gpt": "b"},
            router=Router(policy="round-robin"),
        )
        async with serving(settings) as gateway:
            assert (await gateway.ask(QUESTION | {"model": "either"})).body == completion("from two")
            assert (await gateway.ask(QUESTION | {"model": "gpt"})).body == completion("from two")
        assert [b'"model": "bb"' in asked.body or b'"model":"bb"' in asked.body for asked in two.asked] == [True, True]


async def test_a_large_body_is_there_for_the_second_deployment_too() -> None:
    question = QUESTION | {"padding": "x" * 2_000_000}
    async with upstream(raw()) as bad, upstream(says()) as good, serving(config(bad, good)) as gateway:
        assert (await gateway.ask(question)).status == 200
        assert bad.asked[0].body == good.asked[0].body


@pytest.mark.parametrize("body", ["<html>busy</html>", '"busy"', "[]", ""])
async def test_a_refusal_that_only_says_to_be_json_is_said_in_our_words(body: str) -> None:
    async with upstream(answers(422, body)) as box, serving(config(box)) as gateway:
        answer = await gateway.ask()
    assert answer.status == 422
    assert "answered 422" in answer.error["message"]
