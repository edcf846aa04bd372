"""A conversation that comes back to a model of this board: the real engine says what it did not have to read."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway, serving

from moltbot_edge.api import Candidate, Choice, RouteQuery
from moltbot_edge.config.schema import Alias, Config, Engines, Model, Prompt, Sessions
from moltbot_edge.kernel.registry import Plugin

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

RULES = " ".join(f"Item {number} costs {number * 7 % 93} coins and lies in box {number % 17}." for number in range(18))
LONG_S = 150.0  # two busy cores read 20 tokens a second


def settings(folder: Path, llama_server: Path, model: Path, **more: Any) -> Config:
    """Two models of one file, and room for one of them."""
    return Config(
        model_registry=[Model(name="here", file=str(model)), Model(name="there", file=str(model))],
        engines=Engines(
            command=str(llama_server),
            args=["-t", "1"],
            context_tokens=1024,
            memory_mb=270,
            min_warm_s=0.0,
            kv_path=str(folder / "kv"),
        ),
        **more,
    )


class Conversation:
    """Each turn goes on from the one before."""

    def __init__(self, gateway: Gateway, model: str, system: str = RULES) -> None:
        self._gateway = gateway
        self._model = model
        self.messages = [{"role": "system", "content": system}]

    async def says(self, question: str, **more: Any) -> dict[str, Any]:
        """The reply's usage."""
        self.messages.append({"role": "user", "content": question})
        body = {"model": self._model, "messages": self.messages, "max_tokens": 8, "temperature": 0, **more}
        answer = await self._gateway.ask(body)
        assert answer.status == 200, answer.body
        reply = json.loads(answer.body)
        self.messages.append({"role": "assistant", "content": reply["choices"][0]["message"]["content"]})
        usage: dict[str, Any] = reply["usage"]
        return usage


def cached(usage: dict[str, Any]) -> int:
    return int(usage["prompt_tokens_details"]["cached_tokens"])


async def actions(gateway: Gateway) -> dict[str, float]:
    """How often which came about, ``load proved`` and so on, of all models."""
    found: dict[str, float] = {}
    for key, value in (await gateway.metrics()).items():
        if key[0] == "moltbot_kv_actions_total":
            name = f"{key[2]} {key[3]}"
            found[name] = found.get(name, 0) + value
    return found


async def test_a_conversation_goes_on_after_its_engine_made_room_for_another(
    tmp_path: Path, llama_server: Path, chat_model: Path
) -> None:
    config = settings(tmp_path, llama_server, chat_model)
    async with serving(config, within_s=LONG_S) as gateway:
        here, there = Conversation(gateway, "here"), Conversation(gateway, "there", "Be brief.")
        first = await here.says("What is in box 3?")
        await there.says("Hello!")
        metrics = await gateway.metrics()
        assert metrics["moltbot_engine_state", "here", "stopped"] == 1
        assert 0 < metrics["moltbot_kv_bytes",] == metrics["moltbot_kv_written_day_bytes",]
        again = await here.says("And in box 4?")
        assert cached(first) == 0
        assert cached(again) >= 0.95 * first["prompt_tokens"]
        assert await actions(gateway) == {"save saved": 1, "load loaded": 1, "load proved": 1}
        index = json.loads((tmp_path / "kv/index.json").read_bytes())
        assert len(index["entries"]) == 1
    # Also after the gateway itself has gone. The few tokens that were said since were not worth another file.
    async with serving(config, within_s=LONG_S) as gateway:
        here._gateway = gateway
        later = await here.says("And in box 5?")
        assert cached(later) >= 0.95 * first["prompt_tokens"]


async def test_the_router_knows_which_engine_holds_a_kept_conversation_also_after_a_restart(
    tmp_path: Path, llama_server: Path, chat_model: Path
) -> None:
    """By what an engine is really sent: the caller speaks another dialect, and sends only what is new."""
    seen: list[dict[str, Candidate]] = []

    def spreads(candidates: Sequence[Candidate], query: RouteQuery) -> Choice:
        seen.append({one.deployment.name: one for one in candidates})
        order = sorted(candidates, key=lambda one: one.deployment.name == query.stays)
        return Choice(order, equal=len(order))

    config = settings(
        tmp_path,
        llama_server,
        chat_model,
        aliases={"all": Alias(models=["here", "there"], policy="mine")},
        sessions=Sessions(path=str(tmp_path / "sessions")),
    )
    read: list[tuple[int, int]] = []
    for questions in (["What is in box 3?", "And in box 4?"], ["And in box 5?"]):
        async with serving(config, within_s=LONG_S, plugins=[Plugin("policy", "mine", spreads, "a test")]) as gateway:
            for question in questions:
                body: dict[str, Any] = {"model": "all", "max_tokens": 8, "temperature": 0}
                body |= {"messages": [{"role": "user", "content": question}]} | ({} if read else {"system": RULES})
                answer = await gateway.ask(body, "x-moltbot-session: talk", path="/v1/messages")
                assert answer.status == 200, answer.body
                assert answer.header("x-moltbot-deployment") == "here"
                if read:
                    assert answer.header("x-moltbot-reason") == "stays: holds the conversation"
                usage = answer.json["usage"]
                read.append((usage["cache_read_input_tokens"], usage["input_tokens"]))
    (none, first), (again, _), (later, _) = read
    assert none == 0
    assert again >= 0.95 * first
    assert later >= 0.95 * first
    assert [found["here"].cached_tokens >= 0.95 * first for found in seen] == [False, True, True]
    assert [found["here"].ready_s > 0.0 for found in seen[1:]] == [False, True]
    assert {found["there"].cached_tokens for found in seen} == {0.0}


async def test_two_conversations_of_one_engine_take_turns(tmp_path: Path, llama_server: Path, chat_model: Path) -> None:
    """It has one slot: what one leaves there is saved before the other takes it, and neither sees the other's."""
    async with serving(settings(tmp_path, llama_server, chat_model), within_s=LONG_S) as gateway:
        one, other = Conversation(gateway, "here"), Conversation(gateway, "here", f"You are terse. {RULES}")
        first = await one.says("What is in box 3?")
        second = await other.says("What is in box 3?")
        assert cached(second) < 0.2 * second["prompt_tokens"]
        assert cached(await one.says("And in box 4?")) >= 0.95 * first["prompt_tokens"]
        assert cached(await other.says("And in box 4?")) >= 0.95 * second["prompt_tokens"]


async def test_a_clock_in_the_system_prompt_costs_nothing_once_it_is_moved(
    tmp_path: Path, llama_server: Path, chat_model: Path
) -> None:
    config = settings(tmp_path, llama_server, chat_model, prompt=Prompt(stabilise=["here"]))
    async with serving(config, within_s=LONG_S) as gateway:
        talk = Conversation(gateway, "here")
        usages = []
        for minute in (1, 2):
            talk.messages[0] = {"role": "system", "content": f"Current time: 2026-11-23 06:0{minute}. {RULES}"}
            usages.append(await talk.says("What is in box 3?"))
        assert cached(usages[1]) >= 0.95 * usages[0]["prompt_tokens"]


async def test_a_clock_that_stays_is_shown_in_the_log(
    tmp_path: Path, llama_server: Path, chat_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="moltbot_edge.gateway")
    async with serving(settings(tmp_path, llama_server, chat_model), within_s=LONG_S) as gateway:
        talk = Conversation(gateway, "here")
        for minute in (1, 2):
            talk.messages[0] = {"role": "system", "content": f"Current time: 2026-11-23 06:0{minute}. {RULES}"}
            await talk.says("What is in box 3?")
    (line,) = [one for one in caplog.messages if "tokens of a prompt were cached" in one]
    assert "06:01. Item" in line
    assert "06:02. Item" in line
