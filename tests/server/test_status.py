"""Health, readiness, and what is counted."""

from __future__ import annotations

import pytest
from harness import config, serving
from prometheus_client.parser import text_string_to_metric_families
from raw_caller import QUESTION, request
from scripted_upstream import DONE, answers, delta, hangs, raw, says, streams, upstream

from moltbot_edge import __version__
from moltbot_edge.config.schema import Alias, Config, Model, Router

pytestmark = pytest.mark.anyio

STREAMED = QUESTION | {"stream": True}


async def test_it_is_healthy_as_soon_as_it_serves_and_ready_with_a_model() -> None:
    async with serving(Config()) as gateway:
        answer = await gateway.get("/health")
        assert (answer.status, answer.json) == (200, {"status": "ok"})
        answer = await gateway.get("/ready")
        assert (answer.status, answer.json) == (503, {"status": "no models", "models": 0, "sessions": "ok"})
    async with serving(config("http://unused")) as gateway:
        answer = await gateway.get("/ready")
        assert (answer.status, answer.json) == (200, {"status": "ready", "models": 1, "sessions": "ok"})


async def test_every_metric_is_readable_and_has_its_help() -> None:
    async with upstream(says()) as box, serving(config(box)) as gateway:
        await gateway.ask()
        answer = await gateway.get("/metrics")
        assert (answer.header("content-type") or "").startswith("text/plain; version=0.0.4")
        families = list(text_string_to_metric_families(answer.body.decode()))
        assert all(family.documentation for family in families)
        names = [family.name for family in families]
        assert len(names) == len(set(names))
        metrics = await gateway.metrics()
        assert metrics["moltbot_build_info", __version__] == 1
        assert metrics["process_resident_memory_bytes",] > 1_000_000


async def test_requests_attempts_and_tokens_are_counted() -> None:
    details = b'"prompt_tokens_details":{"cached_tokens":5}'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,%b}}' % details
    async with (
        upstream(answers(500, "{}", "Connection: close"), raw(), says(), answers(400, "{}"), hangs()) as one,
        upstream(says(), streams([delta("hi"), usage + b"\n\n", DONE])) as two,
    ):
        settings = Config(
            model_registry=[Model(name="a", endpoint=one.url), Model(name="b", endpoint=two.url)],
            aliases={"either": Alias(models=["a", "b"])},
            router=Router(policy="round-robin"),
        )
        async with serving(settings) as gateway:
            assert (await gateway.ask(QUESTION | {"model": "either"})).status == 200  # 500 from a, then b
            assert (await gateway.ask(STREAMED | {"model": "b"})).status == 200
            assert (await gateway.ask(QUESTION | {"model": "a"})).status == 502
            assert (await gateway.ask(QUESTION | {"model": "a"})).status == 200
            assert (await gateway.ask(QUESTION | {"model": "a"})).status == 400
            assert (await gateway.ask(QUESTION | {"model": "nowhere"})).status == 404
            assert (await gateway.ask(b"no JSON")).status == 400
            async with gateway.caller() as client:
                await client.send(request(QUESTION | {"model": "a"}))
                await one.was_asked(5)
                metrics = await gateway.metrics()
                assert metrics["moltbot_in_flight", "a"] == 1
                assert metrics["moltbot_connections",] == 2
                assert metrics["moltbot_upstream_connections", f"127.0.0.1:{one.port}", "busy"] == 1
                client.leave()
                await one.was_left()
            await gateway.is_empty()
            counted = {
                name[1:]: value
                for name, value in (await gateway.metrics()).items()
                if name[0] == "moltbot_requests_total"
            }
            assert counted == {
                ("openai-chat", "either", "200"): 1,
                ("openai-chat", "b", "200"): 1,
                ("openai-chat", "a", "502"): 1,
                ("openai-chat", "a", "200"): 1,
                ("openai-chat", "a", "400"): 1,
                ("openai-chat", "a", "499"): 1,
                ("openai-chat", "", "404"): 1,
            }
            metrics = await gateway.metrics()
            outcomes = {
                name[1:]: value for name, value in metrics.items() if name[0] == "moltbot_attempts_total" and value
            }
            assert outcomes == {
                ("a", "upstream_refused"): 2,
                ("a", "upstream_closed"): 1,
                ("a", "ok"): 1,
                ("b", "ok"): 2,
            }
            tokens = {name[1:]: value for name, value in metrics.items() if name[0] == "moltbot_tokens_total" and value}
            assert tokens == {
                ("a", "input"): 7,
                ("a", "output"): 3,
                ("b", "input"): 16,
                ("b", "output"): 7,
                ("b", "cached"): 5,
            }
            assert metrics["moltbot_request_seconds_count", "either"] == 1
            assert metrics["moltbot_first_byte_seconds_count", "b"] == 2
            assert metrics["moltbot_callers_gone_total", "waiting"] == 1
            assert sum(value for name, value in metrics.items() if name[0] == "moltbot_refused_total") == 1


async def test_stale_connections_are_counted() -> None:
    async with upstream(says(), raw(), says()) as box, serving(config(box)) as gateway:
        for _ in range(2):
            assert (await gateway.ask()).status == 200
        assert (await gateway.metrics())["moltbot_stale_retries_total", f"127.0.0.1:{box.port}"] == 1
