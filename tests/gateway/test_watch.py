"""Machines that failed, found again by probes and not by callers."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from harness import config, serving
from raw_caller import QUESTION
from scripted_upstream import Upstream, answers, hangs, raw, refusing, says, upstream

from moltbot_edge.config.schema import Config

pytestmark = pytest.mark.anyio

OFTEN_S = 0.1


def watched(*upstreams: Upstream | str, silent_s: float | None = None, **settings: Any) -> Config:
    made = config(*upstreams, **settings)
    router = msgspec.structs.replace(made.router, probe_s=OFTEN_S, probe_silent_s=silent_s)
    return msgspec.structs.replace(made, router=router)


async def test_a_box_that_closes_without_an_answer_is_asked_by_a_probe_and_then_by_one_caller() -> None:
    async with upstream(raw(), says("back")) as bad, upstream(says("other")) as good:
        bad.on_probe = raw()
        async with serving(watched(bad, good)) as gateway:
            assert (await gateway.ask()).json["choices"][0]["message"]["content"] == "other"
            await gateway.until(lambda metrics: metrics.get(("moltbot_probes_total", where(bad), "up"), 0) >= 1)
            answers = [await gateway.ask() for _ in range(4)]
            assert {answer.status for answer in answers} == {200}
            assert len(bad.asked) > 1
            metrics = await gateway.metrics()
            assert metrics["moltbot_ejections_total", f"chat@{where(bad)}", "silent"] == 1


async def test_a_dead_box_costs_no_caller_a_connect_timeout_a_second_time() -> None:
    with refusing() as closed:
        async with upstream(says()) as good, serving(watched(closed, good)) as gateway:
            for _ in range(10):
                assert (await gateway.ask()).status == 200
                await asyncio.sleep(OFTEN_S / 4)
            metrics = await gateway.metrics()
            dead = closed.removeprefix("http://")
            assert metrics["moltbot_attempts_total", f"chat@{dead}", "upstream_unreachable"] == 1
            assert metrics["moltbot_probes_total", dead, "unreachable"] > 1


async def test_a_box_that_loads_its_model_is_asked_by_no_caller_until_it_says_that_it_is_ready() -> None:
    loading = answers(503, b'{"error": {"message": "Loading model"}}')
    async with upstream(loading) as bad, upstream(says("other")) as good:
        bad.on_probe = loading
        async with serving(watched(bad, good)) as gateway:
            for _ in range(10):
                assert (await gateway.ask()).status == 200
            assert len(bad.asked) == 5
            await gateway.until(lambda metrics: metrics.get(("moltbot_probes_total", where(bad), "not-ready"), 0) >= 2)
            bad.play(says("ready"))
            bad.on_probe = answers(200, b"{}")
            await gateway.until(lambda metrics: metrics.get(("moltbot_probes_total", where(bad), "up"), 0) >= 1)
            for _ in range(4):
                assert (await gateway.ask()).status == 200
            assert len(bad.asked) > 5


async def test_a_box_that_answers_probes_and_no_callers_is_tried_by_one_of_them_and_then_rests() -> None:
    async with upstream(raw()) as bad, upstream(says()) as good, serving(watched(bad, good)) as gateway:
        for _ in range(3):
            assert (await gateway.ask()).status == 200
        await gateway.until(lambda metrics: metrics.get(("moltbot_probes_total", where(bad), "up"), 0) >= 1)
        for _ in range(8):
            assert (await gateway.ask()).status == 200
        assert len(bad.asked) == 2
        state = (await gateway.get("/admin/router")).json["aliases"][0]["deployments"][0]
        assert (state["out"], state["ejections"]) == ("silent", 1)


async def test_the_silent_are_asked_where_that_is_configured_so_that_no_caller_meets_a_dead_one() -> None:
    async with upstream(says()) as good, upstream(hangs()) as other:
        with refusing() as closed:
            async with serving(watched(closed, other, good, silent_s=OFTEN_S)) as gateway:
                dead = closed.removeprefix("http://")
                await gateway.until(lambda metrics: metrics.get(("moltbot_probes_total", dead, "unreachable"), 0) >= 2)
                other.play(says())
                for _ in range(6):
                    assert (await gateway.ask()).status == 200
                metrics = await gateway.metrics()
                assert ("moltbot_attempts_total", f"chat@{dead}", "upstream_unreachable") not in metrics


async def test_who_is_well_is_asked_by_no_probe() -> None:
    async with upstream(says()) as one, upstream(says()) as other, serving(watched(one, other)) as gateway:
        for _ in range(4):
            await gateway.ask(QUESTION)
        await asyncio.sleep(2 * OFTEN_S)
        assert "/health" not in {asked.path for box in (one, other) for asked in box.probed}


def where(box: Upstream) -> str:
    return box.url.removeprefix("http://")
