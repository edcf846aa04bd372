"""A kept conversation among several deployments: it stays where it is held, and the reply says when it moves, and why.

The upstreams are played. They cache as a llama-server does, and say so.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway, serving
from raw_caller import Answer
from scripted_upstream import Script, Upstream, Visit, answers, raw, upstream

from moltbot_edge.api import Candidate, Choice, Prompt, RouteQuery
from moltbot_edge.config.schema import Alias, Config, Model, Sessions
from moltbot_edge.kernel.registry import Plugin

pytestmark = pytest.mark.anyio

STAYS = "stays: holds the conversation"
LONG = "Tell me of a house with " + "many rooms and " * 60


def caches(box: Upstream, bytes_per_token: int = 4) -> Script:
    """It holds what it read and wrote last."""
    held = [""]

    async def script(visit: Visit) -> None:
        said = [f"{one['role']}: {one['content']}" for one in json.loads(box.asked[-1].body)["messages"]]
        read, before = "\n".join(said), held[-1]
        cached = sum(itertools.takewhile(bool, (one == other for one, other in zip(read, before, strict=False))))
        held.append(f"{read}\nassistant: a house")
        usage = {
            "prompt_tokens": len(read) // bytes_per_token,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": cached // bytes_per_token},
        }
        choice = {"index": 0, "message": {"role": "assistant", "content": "a house"}, "finish_reason": "stop"}
        timings = {"prompt_per_second": 400.0, "predicted_per_second": 40.0}
        whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        await answers(200, json.dumps(whole | {"usage": usage, "timings": timings}))(visit)

    return script


@asynccontextmanager
async def caching() -> AsyncIterator[Upstream]:
    async with upstream(raw()) as box:
        box.play(caches(box))
        yield box


def among(folder: Path, boxes: Mapping[str, Upstream], policy: str, **options: Any) -> Config:
    """An alias of all of them."""
    return Config(
        model_registry=[Model(name=name, endpoint=box.url) for name, box in boxes.items()],
        aliases={"all": Alias(models=list(boxes), policy=policy, options=options)},
        sessions=Sessions(path=str(folder)),
    )


async def talk(gateway: Gateway, words: str, session: str = "talk") -> Answer:
    asked = {"model": "all", "messages": [{"role": "user", "content": words}]}
    answer = await gateway.ask(asked, f"x-moltbot-session: {session}")
    assert answer.status == 200
    return answer


def where(answer: Answer) -> tuple[str | None, str | None]:
    return answer.header("x-moltbot-deployment"), answer.header("x-moltbot-reason")


@pytest.mark.parametrize("policy", ["round-robin", "weighted", "least-busy", "sticky", "fastest", "cheapest"])
async def test_it_stays_also_after_a_restart_and_others_go_elsewhere(tmp_path: Path, policy: str) -> None:
    async with caching() as one, caching() as two, caching() as three:
        config = among(tmp_path, {"one": one, "two": two, "three": three}, policy)
        async with serving(config) as gateway:
            first, _ = where(await talk(gateway, LONG))
            others = {where(await talk(gateway, "hi", f"other {turn}".replace(" ", "-")))[0] for turn in range(9)}
            for _ in range(3):
                name, reason = where(await talk(gateway, "and two?"))
                assert name == first
                assert reason is not None
                assert reason.startswith(STAYS)
            assert (await gateway.metrics())["moltbot_decisions_total", "all", policy, "stays"] == 3
        async with serving(config) as gateway:
            name, reason = where(await talk(gateway, "and three?"))
            assert name == first
            assert reason is not None
            assert reason.startswith(STAYS)
        if policy == "round-robin":
            assert others == {"one", "two", "three"}


async def test_numbers_of_which_a_token_has_few_do_not_move_it(tmp_path: Path) -> None:
    """Of a model that has not answered yet, nobody knows how it counts: by four bytes it would have half to read."""
    async with (
        caching() as one,
        caching() as two,
        serving(among(tmp_path, {"one": one, "two": two}, "round-robin")) as gateway,
    ):
        for box in (one, two):
            box.play(caches(box, bytes_per_token=2))
        found = [where(await talk(gateway, LONG)) for _ in range(4)]
    assert found == [("one", None), *[("one", STAYS)] * 3]


async def test_a_policy_is_told_who_answered_last_and_what_that_one_holds(tmp_path: Path) -> None:
    told: list[tuple[RouteQuery, Prompt, dict[str, Candidate]]] = []

    def listening(candidates: Sequence[Candidate], query: RouteQuery) -> Choice:
        told.append((query, query.prompt(), {one.deployment.name: one for one in candidates}))
        return Choice(candidates, equal=len(candidates))

    plugins = [Plugin("policy", "mine", listening, "a test")]
    async with caching() as one, caching() as two:
        config = among(tmp_path, {"one": one, "two": two}, "mine")
        for words in (LONG, "and two?", "and three?"):  # each after a restart
            async with serving(config, plugins=plugins) as gateway:
                await talk(gateway, words)
                await talk(gateway, words)
    seen = [candidates for _, _, candidates in told]
    assert [query.stays for query, _, _ in told] == [None, *["one"] * 5]
    assert [prompt.text for _, prompt, _ in told[-2:]] == ["and three?"] * 2
    assert [prompt.turns for _, prompt, _ in told] == [1, 2, 3, 4, 5, 6]
    whole = json.loads(one.asked[-2].body)["messages"]
    held = len("\n".join(f"{said['role']}: {said['content']}" for said in whole)) // 4
    # The gateway was restarted before the last but one, and has learned nothing by itself.
    assert not seen[-2]["one"].standing.speed.known
    assert seen[-2]["one"].cached_tokens > 200
    assert seen[-1]["one"].cached_tokens == pytest.approx(held, rel=0.05)
    assert {candidates["two"].cached_tokens for candidates in seen} == {0.0}


async def test_what_a_policy_of_ones_own_returns_is_obeyed(tmp_path: Path) -> None:
    def last_first(candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
        return sorted(candidates, key=lambda one: one.deployment.name == query.stays)

    plugins = [Plugin("policy", "mine", last_first, "a test")]
    async with (
        caching() as one,
        caching() as two,
        serving(among(tmp_path, {"one": one, "two": two}, "mine"), plugins=plugins) as gateway,
    ):
        first, second, third = [where(await talk(gateway, LONG)) for _ in range(3)]
    assert first == ("one", None)
    assert (second[0], third[0]) == ("two", "one")
    assert second[1] is not None
    assert second[1].startswith("moves: reads ")


async def test_a_failure_moves_it_and_it_stays_there_when_the_other_is_back(tmp_path: Path) -> None:
    async with (
        caching() as one,
        caching() as two,
        serving(among(tmp_path, {"one": one, "two": two}, "round-robin")) as gateway,
    ):
        assert where(await talk(gateway, LONG))[0] == "one"
        one.play(raw(), raw(), caches(one))  # the first on a connection that was kept
        assert where(await talk(gateway, "and two?")) == ("two", "the one before failed")
        await gateway.until(lambda metrics: ("moltbot_probes_total", f"127.0.0.1:{one.port}", "up") in metrics)
        for _ in range(4):
            assert where(await talk(gateway, "and three?")) == ("two", STAYS)
        assert len(one.asked) == 3


async def test_while_the_one_that_holds_it_is_out_the_reply_names_it(tmp_path: Path) -> None:
    async with (
        caching() as one,
        caching() as two,
        serving(among(tmp_path, {"one": one, "two": two}, "round-robin")) as gateway,
    ):
        found = [where(await talk(gateway, LONG, session))[0] for session in ("a", "b", "c")]
        assert found == ["one", "two", "one"]
        one.on_probe = answers(503)
        one.play(raw())
        assert where(await talk(gateway, "and two?", "a")) == ("two", "the one before failed")
        name, reason = where(await talk(gateway, "and two?", "c"))
        assert name == "two"
        assert (reason or "").startswith("moves: one cannot be asked, reads ")


async def test_a_hard_question_moves_it_and_the_reply_says_what_that_costs(tmp_path: Path) -> None:
    hard = "Prove step by step, with mathematics, that the algorithm's complexity is optimal. " * 20
    async with (
        caching() as small,
        caching() as big,
        serving(among(tmp_path, {"small": small, "big": big}, "complexity")) as gateway,
    ):
        easy = where(await talk(gateway, "hi there"))
        stayed = where(await talk(gateway, "and hello"))
        moved = where(await talk(gateway, hard))
        there = where(await talk(gateway, hard))
    assert easy[0] == stayed[0] == "small"
    assert (stayed[1] or "").startswith(f"{STAYS}, score ")
    assert moved[0] == there[0] == "big"
    assert (moved[1] or "").startswith("moves: score ")
    assert " tokens" in (moved[1] or "")
    assert (there[1] or "").startswith(f"{STAYS}, score ")


async def test_it_is_explained_beforehand_with_what_was_said(tmp_path: Path) -> None:
    async with (
        caching() as small,
        caching() as big,
        serving(among(tmp_path, {"small": small, "big": big}, "round-robin")) as gateway,
    ):
        for _ in range(2):
            await talk(gateway, LONG)
        question = {"model": "all", "session": "talk", "messages": [{"role": "user", "content": "and two?"}]}
        told = [(await gateway.ask(question, path="/admin/router/explain")).json for _ in range(2)]
        assert told[0] == told[1]  # nothing is kept of it
        assert (told[0]["reason"], told[0]["turns"], told[0]["characters"]) == (STAYS, 3, 8)
        assert told[0]["prompt_tokens"] > 400
        here, there = told[0]["deployments"]
        assert (here["deployment"], here["place"], here["cached_tokens"] > 400) == ("small", 1, True)
        assert (there["place"], there["cached_tokens"]) == (2, 0)
        assert there["first_token_s"] is None
        other = (await gateway.ask(question | {"session": "another"}, path="/admin/router/explain")).json
        assert (other["reason"], other["turns"]) == ("", 1)
        assert len(small.asked) == 2


async def test_what_is_asked_is_the_new_message_and_not_the_conversation(tmp_path: Path) -> None:
    """A caller of another dialect, whose new message is all that it sends."""
    async with (
        caching() as small,
        caching() as big,
        serving(among(tmp_path, {"small": small, "big": big}, "complexity")) as gateway,
    ):
        for _ in range(2):
            asked = {"model": "all", "max_tokens": 9, "messages": [{"role": "user", "content": "hi there"}]}
            answer = await gateway.ask(asked, "x-moltbot-session: talk", path="/v1/messages")
            assert answer.header("x-moltbot-deployment") == "small"


async def test_without_a_session_nothing_of_it_is_said(tmp_path: Path) -> None:
    async with (
        caching() as one,
        caching() as two,
        serving(among(tmp_path, {"one": one, "two": two}, "round-robin")) as gateway,
    ):
        asked = {"model": "all", "messages": [{"role": "user", "content": "hi"}]}
        found = [where(await gateway.ask(asked)) for _ in range(4)]
    assert found == [("one", None), ("two", None)] * 2
