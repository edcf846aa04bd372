"""What the router decided, as metrics and headers tell it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
from harness import config, serving
from living import until
from raw_caller import QUESTION, request
from scripted_upstream import DONE, Script, Upstream, answers, delta, hangs, raw, says, streams, upstream

from moltbot_edge.api import Candidate, RouteQuery
from moltbot_edge.config.schema import Config, Model, Router
from moltbot_edge.core import scoreboard
from moltbot_edge.kernel.registry import Plugin

pytestmark = pytest.mark.anyio

REASONS = ("policy", "next", "left", "unordered")
STREAMED = QUESTION | {"stream": True}
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":2}}\n\n'
STREAM = streams([delta("one"), delta("two"), USAGE, DONE])


async def test_the_default_tries_what_it_has_not_seen_and_then_goes_where_the_first_token_comes_soonest() -> None:
    slow = streams([b"", delta("one") + delta("two") + USAGE + DONE], gap_s=0.5, framing="close")
    async with upstream(slow) as one, upstream(STREAM) as two:
        async with serving(config(one, two, policy="fastest")) as gateway:
            first, second, *others = [await gateway.ask(STREAMED) for _ in range(6)]
            metrics = await gateway.metrics()
        assert {answer.header("x-moltbot-reason") for answer in (first, second)} == {"not seen yet"}
        assert [len(one.asked), len(two.asked)] == [1, 5]
        for answer in others:
            assert answer.header("x-moltbot-deployment") == f"chat@127.0.0.1:{two.port}"
            assert answer.header("x-moltbot-policy") == "fastest"
            assert (answer.header("x-moltbot-reason") or "").startswith("predicted ")
        assert metrics["moltbot_decisions_total", "chat", "fastest", "policy"] == 6
        assert metrics["moltbot_candidates", "chat"] == 2
        # Its first answer was predicted by nobody.
        assert metrics["moltbot_first_token_predicted_ratio_count", f"chat@127.0.0.1:{two.port}"] == 4


async def test_one_that_failed_and_then_the_one_that_is_left() -> None:
    async with upstream(raw()) as bad, upstream(says()) as good, serving(config(bad, good)) as gateway:
        bad.on_probe = answers(503)
        assert (await gateway.ask()).status == 200
        assert (await gateway.ask()).status == 200
        metrics = await gateway.metrics()
        decided = {
            reason: metrics.get(("moltbot_decisions_total", "chat", "round-robin", reason)) for reason in REASONS
        }
        assert decided == {"policy": 1, "next": 1, "left": 1, "unordered": None}
        assert metrics["moltbot_candidates", "chat"] == 1


async def test_the_reason_is_of_the_one_that_answers() -> None:
    async with upstream(raw()) as bad, upstream(says()) as good:
        async with serving(config(bad, good, policy="priority")) as gateway:
            answer = await gateway.ask()
        assert answer.header("x-moltbot-deployment") == f"chat@127.0.0.1:{good.port}"
        assert answer.header("x-moltbot-reason") == "the one before failed"
    async with (
        upstream(hangs(), says()) as full,
        upstream(says()) as free,
        serving(config(full, free, policy="priority", connections=1)) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request())
        await full.was_asked()
        answer = await gateway.ask()
        assert answer.header("x-moltbot-deployment") == f"chat@127.0.0.1:{free.port}"
        assert answer.header("x-moltbot-reason") == "those before were full"


@pytest.mark.parametrize(
    "refusal",
    [
        answers(400, r'{"error":{"message":"\"nomic-embed-text\" does not support chat","type":"api_error"}}'),
        answers(400, '{"object":"error","message":"The model does not support Chat Completions API","code":400}'),
    ],
    ids=["ollama", "vllm"],
)
@pytest.mark.parametrize("policy", ["fastest", "round-robin", "complexity"])
async def test_a_model_that_does_not_chat_is_passed_over_and_is_not_broken(policy: str, refusal: Script) -> None:
    async with upstream(refusal) as embeds, upstream(says("chats")) as chats:
        models = [Model(name="embeds", endpoint=embeds.url), Model(name="chats", endpoint=chats.url)]
        async with serving(Config(model_registry=models, router=Router(policy=policy))) as gateway:
            for _ in range(12):
                answer = await gateway.ask(QUESTION | {"model": "auto"})
                assert answer.header("x-moltbot-deployment") == "chats"
            embedding = (await gateway.get("/admin/router")).json["aliases"][0]["deployments"][0]
            assert (embedding["out"], embedding["success"]) == (None, 1.0)
            answer = await gateway.ask(QUESTION | {"model": "embeds"})
            assert (answer.status, "does not support" in answer.body.decode()) == (400, True)
        if policy == "fastest":
            assert len(embeds.asked) <= 2


def _was_asked(one: Upstream, other: Upstream, times: int) -> bool:
    return len(one.asked) + len(other.asked) >= times


async def test_a_box_that_hangs_is_not_given_each_caller_that_loses_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoreboard, "HUNG_S", 1e-9)  # ours to wait for; a user's is ten seconds
    monkeypatch.setattr(scoreboard, "HUNG", 0.0)
    async with (
        upstream(STREAM) as good,
        upstream(hangs()) as bad,
        serving(config(good, bad, policy="fastest")) as gateway,
    ):
        bad.on_probe = hangs()
        while not bad.asked:  # which of the two is tried first is drawn
            async with gateway.caller() as client:
                asked = len(good.asked)
                await client.send(request(STREAMED))
                await until(partial(_was_asked, bad, good, asked + 1))
        await bad.was_left()
        others = [await gateway.ask(STREAMED) for _ in range(3)]
        assert {answer.status for answer in others} == {200}
        assert len(bad.asked) == 1


async def test_a_policy_that_fails() -> None:
    def broken(candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
        raise ZeroDivisionError

    plugin = Plugin("policy", "mine", broken, "a test")
    async with (
        upstream(says()) as one,
        upstream(says()) as two,
        serving(config(one, two, policy="mine"), plugins=[plugin]) as gateway,
    ):
        answer = await gateway.ask()
        assert answer.header("x-moltbot-reason") == "the policy failed"
        metrics = await gateway.metrics()
        assert metrics["moltbot_decisions_total", "chat", "mine", "unordered"] == 1
        gateway.errors.clear()


async def test_a_single_deployment_is_no_decision_but_its_first_token_is_predicted() -> None:
    async with upstream(STREAM) as one, serving(config(one)) as gateway:
        for _ in range(3):
            answer = await gateway.ask(STREAMED)
        assert answer.header("x-moltbot-deployment") == "chat"
        assert answer.header("x-moltbot-reason") is None
        metrics = await gateway.metrics()
        assert metrics["moltbot_first_token_predicted_ratio_count", "chat"] == 2
        assert not any(name[0].startswith("moltbot_decisions") for name in metrics)


async def test_the_time_to_the_first_token_is_a_streams_first_events_and_not_its_heads() -> None:
    late = streams([b"", delta("one") + DONE], gap_s=0.3, framing="close")
    async with upstream(late) as one, serving(config(one)) as gateway:
        assert (await gateway.ask(STREAMED)).status == 200
        metrics = await gateway.metrics()
        assert metrics["moltbot_first_byte_seconds_sum", "chat"] > 0.25


async def test_a_callers_own_fault_is_no_failure_of_the_deployment() -> None:
    async with (
        upstream(answers(400, "{}"), says()) as one,
        upstream(says()) as two,
        serving(config(one, two)) as gateway,
    ):
        assert (await gateway.ask()).status == 400
        assert (await gateway.ask()).status == 200
        metrics = await gateway.metrics()
        assert metrics["moltbot_candidates", "chat"] == 2
