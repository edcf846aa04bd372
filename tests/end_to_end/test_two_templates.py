"""A kept conversation that changes its model, in short: one file behind two templates, a real engine each."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import engine_eyes
import pytest
from harness import serving

from moltbot_edge.config.schema import Config, Engines, Model, Sessions

pytestmark = pytest.mark.anyio

GENTLE = ["--threads", "1", "--poll", "0"]  # two engines that spin starve each other on two cores
SESSION = "x-moltbot-session: physics"


async def test_the_second_models_prompt_holds_the_first_ones_turn(
    llama_server: Path, chat_model: Path, tmp_path: Path
) -> None:
    other = ["--chat-template-file", str(Path(__file__).parent / "gemma.jinja")]

    def model(name: str, *flags: str, context_tokens: int) -> Model:
        (file := tmp_path / f"{name}.gguf").symlink_to(chat_model)
        return Model(name=name, file=str(file), engine_args=[*GENTLE, *flags], context_tokens=context_tokens)

    settings = Config(
        model_registry=[model("small", context_tokens=512), model("big", *other, context_tokens=1024)],
        engines=Engines(command=str(engine_eyes.telling(llama_server, tmp_path))),
        sessions=Sessions(path=str(tmp_path / "sessions")),
    )
    said: list[str] = []
    async with serving(settings, within_s=170) as gateway:
        for name, question in (("small", "explain quantum computing simply"), ("big", "now with mathematics")):
            asked: dict[str, Any] = {"model": name, "messages": [{"role": "user", "content": question}]}
            answer = await gateway.ask(asked | {"max_tokens": 12, "temperature": 0}, SESSION)
            said += [question, answer.json["choices"][0]["message"]["content"]]
        seen = await asyncio.to_thread(engine_eyes.last, os.getpid(), "big")
    asks, replies, goes_on, _ = said
    assert replies
    turns = (("user", asks), ("model", replies), ("user", goes_on))
    told = "".join(f"<start_of_turn>{who}\n{words}<end_of_turn>\n" for who, words in turns)
    assert seen.prompt.removeprefix("<|im_start|>") == f"{told}<start_of_turn>model\n"
