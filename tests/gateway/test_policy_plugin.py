"""A policy from a plug-in: asked for the order, and no more than that rests on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from unittest import mock

import pytest
from harness import config, serving
from raw_caller import QUESTION, request
from scripted_upstream import hangs, raw, says, upstream

from moltbot_edge.api import Candidate, Choice, RouteQuery
from moltbot_edge.dialects.openai_chat import OpenAIChat
from moltbot_edge.kernel.registry import Plugin

pytestmark = pytest.mark.anyio


LONG = [{"role": "user", "content": "x" * 4000}]


def plugged(policy: Any) -> list[Plugin]:
    return [Plugin("policy", "mine", policy, "a test")]


async def test_it_says_the_order_and_is_told_what_is_known() -> None:
    told: list[tuple[list[Candidate], RouteQuery]] = []

    def last_first(candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
        told.append((list(candidates), query))
        return candidates[::-1]

    async with (
        upstream(says("one")) as one,
        upstream(hangs(), says("two")) as two,
        serving(config(one, two, policy="mine"), plugins=plugged(last_first)) as gateway,
        gateway.caller() as client,
    ):
        await client.send(request(QUESTION | {"session": "abc", "messages": LONG}))
        await two.was_asked()
        assert b"two" in (await gateway.ask()).body
        client.leave()
        await two.visits[0].gone.wait()
    candidates, query = told[0]
    assert [one.standing.in_flight for one in candidates] == [0, 0]
    assert (query.alias, query.session, query.turn) == ("chat", "abc", 0)
    assert 1000 <= query.prompt_tokens <= 1100
    assert 0 <= query.chance < 1
    candidates, query = told[1]
    assert [one.standing.in_flight for one in candidates] == [0, 1]
    assert query.turn == 1


async def test_its_fault_costs_no_answer() -> None:
    def broken(candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
        raise ZeroDivisionError

    async with (
        upstream(raw()) as one,
        upstream(says("two")) as two,
        serving(config(one, two, policy="mine"), plugins=plugged(broken)) as gateway,
    ):
        assert b"two" in (await gateway.ask()).body
        assert [record.getMessage() for record in gateway.errors] == ["the policy 'mine' failed for 'chat'"]
        gateway.errors.clear()


async def test_it_may_leave_some_out_or_all() -> None:
    async with upstream(raw()) as one, upstream(says()) as two:
        async with serving(config(one, two, policy="mine"), plugins=plugged(lambda found, query: found[:1])) as gateway:
            assert (await gateway.ask()).status == 502
            assert two.asked == []
        async with serving(config(one, two, policy="mine"), plugins=plugged(lambda found, query: [])) as gateway:
            answer = await gateway.ask()
            assert (answer.status, answer.error["code"]) == (503, "overloaded")
            assert "'mine'" in answer.error["message"]


def emptied(candidates: Any, query: RouteQuery) -> Any:
    candidates.clear()
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda found, query: None,
        lambda found, query: [1, 2],
        lambda found, query: [one.deployment for one in found],
        lambda found, query: [found[0]] * 50,
        lambda found, query: Choice(found, reason=cast(Any, 7)),
        emptied,
    ],
    ids=["nothing", "numbers", "deployments", "one-and-the-same", "no-reason", "emptied"],
)
async def test_its_nonsense_costs_no_answer(nonsense: Any) -> None:
    async with (
        upstream(raw()) as one,
        upstream(says("two")) as two,
        serving(config(one, two, policy="mine"), plugins=plugged(nonsense)) as gateway,
    ):
        answer = await gateway.ask()
        assert b"two" in answer.body
        assert [record.getMessage() for record in gateway.errors] == ["the policy 'mine' failed for 'chat'"]
        gateway.errors.clear()


async def test_with_one_deployment_it_is_not_asked() -> None:
    async with (
        upstream(says()) as one,
        serving(config(one, policy="mine"), plugins=plugged(lambda found, query: [])) as gateway,
    ):
        assert (await gateway.ask()).status == 200


async def test_it_may_look_at_what_is_asked_and_say_why_it_chose() -> None:
    def by_words(candidates: Sequence[Candidate], query: RouteQuery) -> Choice:
        words = query.prompt().text
        return Choice(candidates[::-1] if "two" in words else candidates, f"asks {words}\r\nx-evil: 1 ü")

    async with (
        upstream(says("one")) as one,
        upstream(says("two")) as two,
        serving(config(one, two, policy="mine"), plugins=plugged(by_words)) as gateway,
    ):
        answer = await gateway.ask(QUESTION | {"messages": [{"role": "user", "content": "for two"}]})
        assert b"two" in answer.body
        assert answer.header("x-moltbot-reason") == "asks for two  x-evil: 1 ?"
        assert answer.header("x-evil") is None
        assert b"one" in (await gateway.ask()).body


@pytest.mark.parametrize("policy", ["round-robin", "weighted", "fastest", "least-busy"])
async def test_for_a_policy_that_does_not_look_nobody_reads_what_is_asked(policy: str) -> None:
    with mock.patch.object(OpenAIChat, "prompt", side_effect=AssertionError("somebody looked")):
        async with (
            upstream(says()) as one,
            upstream(says()) as two,
            serving(config(one, two, policy=policy)) as gateway,
        ):
            answers = [await gateway.ask() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert all(answer.header("x-moltbot-exchange") is None for answer in answers)
