"""A conversation longer than the window of an engine of this board: the real one counts what it is sent, and caches."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from harness import Gateway, serving

from moltbot_edge.config.schema import Config, Engines, Model, Sessions

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

LONG_S = 150.0  # two busy cores read 20 tokens a second
WINDOW = 512
ONE_FITS_MB = 270  # SmolLM2 takes 180 of them
STORY = "Tell me what a lamp, a boat, a stone and {} 42 cups of tea have in common, and why the sea is so wide."


def config(folder: Path, llama_server: Path, model: Path, args: list[str], context: int, **sessions: Any) -> Config:
    return Config(
        model_registry=[Model(name="chat", file=str(model))],
        engines=Engines(command=str(llama_server), args=["-t", "1", *args], context_tokens=context),
        sessions=Sessions(store="disk", path=str(folder / "sessions"), **sessions),
    )


class Turn:
    def __init__(self, said: dict[str, Any], fitted: str | None) -> None:
        self.usage = said["usage"]
        self.cached = self.usage["prompt_tokens_details"]["cached_tokens"]
        self.fitted = fitted


async def asks(gateway: Gateway, question: str) -> Turn:
    body = {
        "model": "chat",
        "max_tokens": 16,
        "temperature": 0,
        "messages": [{"role": "system", "content": "You are brief."}, {"role": "user", "content": question}],
    }
    answer = await gateway.ask(body, "x-moltbot-session: talk")
    assert answer.status == 200, answer.body
    return Turn(json.loads(answer.body), answer.header("x-moltbot-fitted"))


async def test_it_goes_on_and_most_of_it_is_cached(tmp_path: Path, llama_server: Path, chat_model: Path) -> None:
    settings = config(tmp_path, llama_server, chat_model, [], WINDOW)
    async with serving(settings, within_s=LONG_S) as gateway:
        turns = [await asks(gateway, STORY.format(place)) for place in range(20)]
    assert max(turn.usage["prompt_tokens"] for turn in turns) <= 0.85 * WINDOW
    assert max(turn.usage["prompt_tokens"] for turn in turns) >= 0.7 * WINDOW, "the window is made use of"
    cuts = [place for place, (one, other) in enumerate(pairwise(turns), 1) if one.fitted != other.fitted]
    assert 2 <= len(cuts) <= 7
    for place, (before, turn) in enumerate(pairwise(turns), 1):
        if place not in cuts:
            assert turn.cached >= 0.9 * before.usage["prompt_tokens"], "only what is new is read"


async def test_what_the_engine_says_of_its_window_counts(tmp_path: Path, llama_server: Path, chat_model: Path) -> None:
    """Its own flag stands in the place of the context that the gateway has it for; and it comes back with it."""
    settings = config(tmp_path, llama_server, chat_model, ["--ctx-size", str(WINDOW)], 2048)
    for turns in (9, 3):
        async with serving(settings, within_s=LONG_S) as gateway:
            for place in range(turns):
                turn = await asks(gateway, STORY.format(place))
                assert turn.usage["prompt_tokens"] <= 0.85 * WINDOW
        assert turn.fitted is not None


async def test_the_model_sums_up_what_it_will_not_see(tmp_path: Path, llama_server: Path, chat_model: Path) -> None:
    wishes = {"summary_model": "chat", "summary_tokens": 48, "summary_prompt_tokens": 300}
    settings = config(tmp_path, llama_server, chat_model, [], WINDOW, **wishes)
    async with serving(settings, within_s=LONG_S) as gateway:
        turns = [await asks(gateway, STORY.format(place)) for place in range(9)]
        assert str(turns[-1].fitted).endswith("summarised")
        assert max(turn.usage["prompt_tokens"] for turn in turns) <= 0.85 * WINDOW
        kept = await gateway.get("/v1/sessions/talk/export")
    cuts = [json.loads(line).get("cut") for line in kept.body.splitlines()[1:]]
    assert any(cut and cut.get("summary") for cut in cuts)


async def test_another_model_sums_up_where_there_is_room_for_one(
    tmp_path: Path, llama_server: Path, chat_model: Path
) -> None:
    """Whoever asks for the summary holds no engine meanwhile."""
    wishes = {"summary_model": "scribe", "summary_tokens": 48, "summary_prompt_tokens": 300}
    settings = config(tmp_path, llama_server, chat_model, [], WINDOW, **wishes)
    registry = [*settings.model_registry, Model(name="scribe", file=str(chat_model))]
    engines = msgspec.structs.replace(settings.engines, memory_mb=ONE_FITS_MB, min_warm_s=0.0)
    settings = msgspec.structs.replace(settings, model_registry=registry, engines=engines)
    async with serving(settings, within_s=LONG_S) as gateway:
        turns = [await asks(gateway, STORY.format(place)) for place in range(9)]
        assert str(turns[-1].fitted).endswith("summarised")
        metrics = await gateway.metrics()
    assert metrics["moltbot_requests_total", "openai-chat", "scribe", "200"] >= 1
    assert metrics["moltbot_engine_starts_total", "chat"] >= 2, "it made room, and came back"
