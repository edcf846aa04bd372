"""A machine that just restarts is asked again; a storm is not made worse; and nobody waits longer than is known."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness import config, serving
from msgspec.structs import replace
from raw_caller import QUESTION, request
from scripted_upstream import answers, completion, hangs, raw, refusing, says, upstream

from moltbot_edge import assemble
from moltbot_edge.config.schema import Config, Model, Router

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("body", [QUESTION, QUESTION | {"stream": True}], ids=["whole", "streamed"])


def routed(settings: Config, **router: Any) -> Config:
    return replace(settings, router=replace(settings.router, **router))


@BOTH
@pytest.mark.parametrize("status", [429, 503])
async def test_a_short_pause_that_is_asked_for_is_waited_for(status: int, body: Any) -> None:
    async with upstream(answers(status, "{}", "Retry-After: 0"), says("then")) as box, serving(config(box)) as gateway:
        assert (await gateway.ask(body)).body == completion("then")
        metrics = await gateway.metrics()
        assert metrics["moltbot_retries_total", "chat", "again"] == 1


@pytest.mark.parametrize(
    "refusal",
    [
        answers(429, "{}", "Retry-After: 30"),
        answers(429, "{}"),
        answers(500, "{}", "Retry-After: 0"),
        answers(400, "{}", "Retry-After: 0"),
        raw(),
    ],
    ids=["later", "some-time", "broken", "wrong", "closed"],
)
async def test_what_no_moment_will_change_is_told_at_once(refusal: Any) -> None:
    async with upstream(refusal) as box, serving(config(box)) as gateway:
        assert (await gateway.ask()).status >= 400
        assert len(box.asked) == 1


async def test_a_machine_that_refuses_connections_is_asked_again_for_a_moment() -> None:
    with refusing() as closed:
        async with serving(routed(config(closed), retry_for_s=0.3)) as gateway:
            assert (await gateway.ask()).status == 502
            metrics = await gateway.metrics()
            assert metrics["moltbot_retries_total", "chat", "again"] >= 1


async def test_with_several_the_others_are_asked_first_and_at_once() -> None:
    busy = answers(429, "{}", "Retry-After: 0")
    async with upstream(busy, says("one")) as one, upstream(busy) as other, serving(config(one, other)) as gateway:
        assert (await gateway.ask()).body == completion("one")
        assert len(other.asked) >= 1
        metrics = await gateway.metrics()
        assert metrics["moltbot_retries_total", "chat", "elsewhere"] >= 1
        assert metrics["moltbot_retries_total", "chat", "again"] == 1


async def test_when_everything_fails_no_more_is_asked_than_the_budget_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "RETRIES_SAVED", 3)  # a user's are hundreds
    broken = answers(500, "{}")
    async with (
        upstream(broken) as one,
        upstream(broken) as other,
        serving(routed(config(one, other), retry_share=0.0, retries_per_s=0.0)) as gateway,
    ):
        for _ in range(10):
            assert (await gateway.ask()).status == 500
        assert len(one.asked) + len(other.asked) == 10 + 3
        metrics = await gateway.metrics()
        assert metrics["moltbot_retries_total", "chat", "over-budget"] >= 6


async def test_a_caller_that_leaves_during_a_pause_leaves_nothing_behind() -> None:
    async with upstream(answers(503, "{}", "Retry-After: 1")) as box, serving(config(box)) as gateway:
        async with gateway.caller() as client:
            await client.send(request())
            await box.was_asked()
        await gateway.is_empty()
        assert len(box.asked) == 1


async def test_a_line_of_ours_that_is_full_is_no_failure_of_the_machine() -> None:
    async with (
        upstream(hangs()) as box,
        serving(config(box, connections=1, queue=1, queue_s=0.05)) as gateway,
        gateway.caller() as first,
    ):
        await first.send(request())
        await box.was_asked()
        for _ in range(8):
            answer = await gateway.ask()
            assert (answer.status, answer.header("retry-after")) == (503, "2")
        state = (await gateway.get("/admin/router")).json["aliases"][0]["deployments"][0]
        assert (state["out"], state["failed"], state["success"]) == (None, 0, 1.0)


async def test_who_waited_for_several_is_told_when_to_come_back_as_well() -> None:
    async with (
        upstream(hangs()) as one,
        upstream(hangs()) as other,
        serving(config(one, other, connections=1, queue=1, queue_s=0.05)) as gateway,
        gateway.caller() as first,
        gateway.caller() as second,
    ):
        await first.send(request())
        await one.was_asked()
        await second.send(request())
        await other.was_asked()
        answer = await gateway.ask()
        assert (answer.status, answer.header("retry-after")) == (503, "2")


async def test_the_time_to_come_back_is_what_the_line_will_take() -> None:
    async with (
        upstream(slowly(0.4), slowly(0.4), hangs()) as box,
        serving(config(box, connections=1, queue=1, queue_s=0.3)) as gateway,
        gateway.caller() as first,
    ):
        for _ in range(2):
            assert (await gateway.ask()).status == 200
        await first.send(request())
        await box.was_asked(3)
        answer = await gateway.ask()
        assert (answer.status, answer.header("retry-after")) == (503, "1")


async def test_with_another_model_to_ask_nobody_waits() -> None:
    with refusing() as closed:
        async with upstream(says("other")) as other:
            settings = Config(
                model_registry=[Model(name="chat", endpoint=closed), Model(name="other", endpoint=other.url)],
                router=Router(fallbacks={"chat": ["other"]}, retry_for_s=3600),
            )
            async with serving(settings) as gateway:
                assert (await gateway.ask()).body == completion("other")
                metrics = await gateway.metrics()
                assert not any(name[0] == "moltbot_retries_total" for name in metrics)


def slowly(seconds: float) -> Any:
    async def script(visit: Any) -> None:
        await asyncio.sleep(seconds)
        await says()(visit)

    return script
