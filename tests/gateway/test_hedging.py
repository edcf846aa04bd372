"""Two machines asked for one request: who answers, and what the other one sees."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness import Gateway, serving
from machines import LOCAL, PUBLIC, machines, on
from msgspec.structs import replace
from raw_caller import QUESTION, request
from scripted_upstream import (
    DONE,
    Script,
    Visit,
    answers,
    completion,
    delta,
    hangs,
    raw,
    says,
    streams,
    upstream,
)

from moltbot_edge.config.schema import Alias, Config, Hedge, Limits, Model, Router

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("machines")]
__all__ = ["machines"]

STREAMED = QUESTION | {"stream": True}
BOTH = pytest.mark.parametrize("body", [QUESTION, STREAMED], ids=["whole", "streamed"])
SOON_S = 0.05


def answer_to(body: Any, text: str = "quick") -> Script:
    return streams([delta(text), DONE]) if body.get("stream") else says(text)


def settings(*urls: str, after_s: float = SOON_S, share: float = 1.0, private: bool = False, **alias: Any) -> Config:
    return Config(
        model_registry=[
            Model(name=f"m{number}", endpoint=url, private=private and not number) for number, url in enumerate(urls)
        ],
        aliases={"chat": Alias(models=[f"m{number}" for number in range(len(urls))], policy="priority", **alias)},
        router=Router(hedge=Hedge(after_s=after_s, share=share)),
    )


async def hedges(gateway: Gateway) -> dict[str, float]:
    metrics = await gateway.metrics()
    return {name[-1]: value for name, value in metrics.items() if name[:2] == ("moltbot_hedges_total", "chat")}


def later(event: asyncio.Event, script: Script) -> Script:
    async def wait(visit: Visit) -> None:
        await event.wait()
        await script(visit)

    return wait


@BOTH
async def test_the_second_answers_for_a_first_that_is_late_and_the_first_sees_its_client_leave(body: Any) -> None:
    async with (
        upstream(hangs()) as slow,
        upstream(answer_to(body)) as quick,
        serving(settings(on(LOCAL[0], slow), on(LOCAL[1], quick))) as gateway,
    ):
        answer = await gateway.ask(body)
        assert b"quick" in answer.body
        assert answer.header("x-moltbot-deployment") == "m1"
        assert answer.header("x-moltbot-reason") == "hedged"
        await slow.was_left()
        assert await hedges(gateway) == {"started": 1, "won": 1}
        metrics = await gateway.metrics()
        assert metrics["moltbot_decisions_total", "chat", "priority", "hedge"] == 1
        assert not any(name[0] == "moltbot_callers_gone_total" for name in metrics)


@BOTH
async def test_of_two_that_are_asked_for_a_session_one_reply_is_kept(body: Any) -> None:
    async with (
        upstream(hangs()) as slow,
        upstream(answer_to(body)) as quick,
        serving(settings(on(LOCAL[0], slow), on(LOCAL[1], quick))) as gateway,
    ):
        await gateway.ask(body, "x-moltbot-session: talk")
        await slow.was_left()
        (turn,) = (await gateway.get("/v1/sessions/talk")).json["turns"]
        assert turn["deployment"] == "m1"
        assert turn["reply"]["parts"][0]["text"] == "quick"
        assert await hedges(gateway) == {"started": 1, "won": 1}


@BOTH
async def test_a_first_that_answers_after_all_wins_and_the_second_sees_its_client_leave(body: Any) -> None:
    asked = asyncio.Event()
    async with (
        upstream(later(asked, answer_to(body, "first"))) as slow,
        upstream(hangs()) as other,
        serving(settings(on(LOCAL[0], slow), on(LOCAL[1], other))) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request(body))
        await other.was_asked()
        asked.set()
        answer = await client.reply()
        assert b"first" in answer.body
        assert answer.header("x-moltbot-deployment") == "m0"
        await other.was_left()
        assert await hedges(gateway) == {"started": 1, "lost": 1}


async def test_a_stream_that_has_begun_is_not_hedged_however_slow_it_goes_on() -> None:
    ends = asyncio.Event()

    async def slowly(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + delta("one"))
        await ends.wait()
        await visit.send(delta("two"), DONE)
        await visit.end("close")

    async with (
        upstream(slowly) as slow,
        upstream(says()) as other,
        serving(settings(on(LOCAL[0], slow), on(LOCAL[1], other))) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request(STREAMED))
        await slow.was_asked()
        await asyncio.sleep(3 * SOON_S)
        ends.set()
        assert b"two" in (await client.reply()).body
        assert other.asked == []
        assert await hedges(gateway) == {}


@pytest.mark.parametrize("places", [("127.0.0.1", "localhost"), (LOCAL[0], LOCAL[0])], ids=["this-board", "one-box"])
async def test_one_machine_is_never_asked_twice(places: tuple[str, str]) -> None:
    ends = asyncio.Event()
    async with upstream(later(ends, says("first"))) as one, upstream(says()) as other:
        urls = [on(place, box) for place, box in zip(places, (one, other), strict=True)]
        async with serving(settings(*urls)) as gateway, gateway.caller() as client:
            await client.send(request())
            await one.was_asked()
            await asyncio.sleep(3 * SOON_S)
            ends.set()
            assert (await client.reply()).body == completion("first")
            assert other.asked == []


async def test_a_first_that_fails_leaves_it_to_the_second_that_is_asked_already() -> None:
    ends = asyncio.Event()
    fails = later(ends, raw())
    async with (
        upstream(fails) as first,
        upstream(later(ends, later_a_little(says("second")))) as second,
        serving(settings(on(LOCAL[0], first), on(LOCAL[1], second))) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request())
        await second.was_asked()
        ends.set()
        assert (await client.reply()).body == completion("second")
        assert (len(first.asked), len(second.asked)) == (1, 1)


@BOTH
async def test_a_first_that_fails_just_as_the_second_begins_to_answer_does_not_end_that_answer(body: Any) -> None:
    for _ in range(5):
        ends = asyncio.Event()
        async with (
            upstream(later(ends, raw())) as first,
            upstream(later(ends, answer_to(body, "second"))) as second,
            serving(settings(on(LOCAL[0], first), on(LOCAL[1], second))) as gateway,
            gateway.caller() as client,
        ):
            await client.send(request(body))
            await second.was_asked()
            ends.set()
            answer = await client.reply()
            assert b"second" in answer.body
            assert b"error" not in answer.body


async def test_when_both_fail_a_third_is_asked() -> None:
    ends = asyncio.Event()
    fails = later(ends, answers(500, "{}"))
    async with upstream(fails) as first, upstream(fails) as second, upstream(says("third")) as third:
        urls = [on(name, box) for name, box in zip(LOCAL, (first, second, third), strict=True)]
        async with serving(settings(*urls)) as gateway, gateway.caller() as client:
            await client.send(request())
            await second.was_asked()
            ends.set()
            assert (await client.reply()).body == completion("third")
            assert [len(box.asked) for box in (first, second, third)] == [1, 1, 1]
            assert await hedges(gateway) == {"started": 1, "failed": 1}


async def test_a_first_whose_answer_breaks_off_is_not_repaired_by_the_second() -> None:
    ends = asyncio.Event()
    async with (
        upstream(later(ends, streams([delta("half"), b"data: {"], framing="close"))) as first,
        upstream(hangs()) as second,
        serving(settings(on(LOCAL[0], first), on(LOCAL[1], second))) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request(STREAMED))
        await second.was_asked()
        ends.set()
        assert b"half" in (await client.reply()).body
        await second.was_left()


async def test_a_request_at_fault_is_told_at_once() -> None:
    ends = asyncio.Event()
    async with (
        upstream(later(ends, answers(400, '{"error": {"message": "no"}}'))) as first,
        upstream(hangs()) as second,
        serving(settings(on(LOCAL[0], first), on(LOCAL[1], second))) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request())
        await second.was_asked()
        ends.set()
        assert (await client.reply()).status == 400
        await second.was_left()


async def test_a_caller_that_leaves_frees_both() -> None:
    async with (
        upstream(hangs()) as first,
        upstream(hangs()) as second,
        serving(settings(on(LOCAL[0], first), on(LOCAL[1], second))) as gateway,
    ):
        async with gateway.caller() as client:
            await client.send(request())
            await second.was_asked()
        await first.was_left()
        await second.was_left()
        await gateway.until(lambda metrics: metrics.get(("moltbot_callers_gone_total", "waiting")) == 1)


async def test_extra_requests_have_a_budget() -> None:
    saved = 5  # from the beginning
    async with upstream(later_a_little(says(), seconds=4 * SOON_S)) as slow, upstream(says()) as other:
        configured = settings(on(LOCAL[0], slow), on(LOCAL[1], other), share=0.01)
        async with serving(configured) as gateway:
            for _ in range(saved + 2):
                assert (await gateway.ask()).status == 200
            found = await hedges(gateway)
            assert (found["started"], found["over-budget"]) == (saved, 2)


async def test_a_second_that_is_full_is_not_asked() -> None:
    async with upstream(later_a_little(says("first"), seconds=4 * SOON_S)) as slow, upstream(hangs()) as other:
        configured = settings(on(LOCAL[0], slow), on(LOCAL[1], other))
        limits = type(configured.limits)(connections=1)
        configured = Config(
            model_registry=configured.model_registry,
            aliases=configured.aliases,
            router=configured.router,
            limits=limits,
        )
        async with serving(configured) as gateway, gateway.caller() as client:
            await client.send(request(QUESTION | {"model": "m1"}))
            await other.was_asked()
            assert (await gateway.ask()).body == completion("first")
            assert await hedges(gateway) == {"no-room": 1}


async def test_a_third_is_asked_where_the_second_is_full() -> None:
    async with (
        upstream(later_a_little(says("first"), seconds=60)) as slow,
        upstream(hangs()) as full,
        upstream(says("third")) as third,
    ):
        urls = [on(name, box) for name, box in zip(LOCAL, (slow, full, third), strict=True)]
        configured = replace(settings(*urls), limits=Limits(connections=1))
        async with serving(configured) as gateway, gateway.caller() as client:
            await client.send(request(QUESTION | {"model": "m1"}))
            await full.was_asked()
            assert (await gateway.ask()).body == completion("third")
            assert await hedges(gateway) == {"started": 1, "won": 1}


async def test_off_is_off() -> None:
    async with upstream(later_a_little(says("first"), seconds=4 * SOON_S)) as slow, upstream(says()) as other:
        configured = Config(
            model_registry=[
                Model(name="chat", endpoint=on(name, box)) for name, box in zip(LOCAL, (slow, other), strict=False)
            ],
            router=Router(policy="priority"),
        )
        async with serving(configured) as gateway:
            assert (await gateway.ask()).body == completion("first")
            assert other.asked == []


@pytest.mark.parametrize(("leave_lan", "started"), [(False, None), (True, 1)])
async def test_what_is_private_is_hedged_off_the_lan_only_where_the_alias_says_so(
    leave_lan: bool, started: int | None
) -> None:
    async with upstream(later_a_little(says("home"), seconds=4 * SOON_S)) as home, upstream(says("cloud")) as cloud:
        urls = on(LOCAL[0], home), on(PUBLIC, cloud)
        async with serving(settings(*urls, private=True, leave_lan=leave_lan)) as gateway:
            assert (await gateway.ask()).body == completion("cloud" if leave_lan else "home")
            assert (await hedges(gateway)).get("started") == started
            assert bool(cloud.asked) == leave_lan


def later_a_little(script: Script, seconds: float = SOON_S) -> Script:
    async def wait(visit: Visit) -> None:
        await asyncio.sleep(seconds)
        await script(visit)

    return wait
