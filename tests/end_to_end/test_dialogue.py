"""A conversation that goes from one model to another at every turn: the command, two real models, unlike templates.

Who asks sends the new message only. What each model was given is told by its engine, word for word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import engine_eyes
import pytest
from speakers import EVERY_DIALECT, Speaker
from swapping.gateway import Gateway

pytestmark = pytest.mark.thorough

HERE = Path(__file__).parent
GENTLE = ["--threads", "1", "--poll", "0"]  # two engines that spin starve each other on two cores

# The user's own first two, and as many again.
TURNS = (
    ("small", "explain quantum computing simply"),
    ("big", "now with mathematics"),
    ("small", "and in one sentence"),
    ("big", "what did I ask you first?"),
)


def chatml(said: list[tuple[str, str]]) -> str:
    """What SmolLM2's own template makes of it; where nobody says who the model is, it does."""
    opening = ("system", "You are a helpful AI assistant named SmolLM, trained by Hugging Face")
    turns = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in (opening, *said))
    return f"{turns}<|im_start|>assistant\n"


def gemma(said: list[tuple[str, str]]) -> str:
    names = {"user": "user", "assistant": "model"}
    turns = "".join(f"<start_of_turn>{names[role]}\n{text}<end_of_turn>\n" for role, text in said)
    return f"<bos>{turns}<start_of_turn>model\n"


PROMPTS = {"small": chatml, "big": gemma}


@pytest.fixture(scope="module")
def gateway(
    llama_server: Path, chat_model: Path, other_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """SmolLM2 of 135 million parameters, and Gemma 3 of 270 million, which reads twice as much."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "small.gguf").symlink_to(chat_model)
    (folder / "big.gguf").symlink_to(other_model)
    strict = ["--chat-template-file", str(HERE / "gemma.jinja")]
    models: list[Mapping[str, Any]] = [
        {"name": "small", "file": "small.gguf", "context_tokens": 1024, "engine_args": GENTLE},
        {"name": "big", "file": "big.gguf", "context_tokens": 2048, "engine_args": [*GENTLE, *strict]},
    ]
    engines = {"command": str(engine_eyes.telling(llama_server, folder))}
    served = Gateway(folder, models, engines, sessions={"store": "disk", "path": str(folder / "sessions")})
    asyncio.run(served.start())
    try:
        yield served
    finally:
        served.stop()


class Dialogue:
    """One session. Whatever was said is in each prompt, once, and nothing else is."""

    def __init__(self, gateway: Gateway, session: str) -> None:
        self.said: list[tuple[str, str]] = []
        self.prompts: dict[str, list[str]] = {"small": [], "big": []}
        self._gateway = gateway
        self._session = session

    def turn(self, speaker: Speaker, model: str, question: str) -> engine_eyes.Seen:
        reply = speaker(f"http://127.0.0.1:{self._gateway.port}", self._session, model, question)
        assert reply
        seen = engine_eyes.last(self._gateway.pid, model)
        self.said.append(("user", question))
        assert seen.prompt == PROMPTS[model](self.said)
        self.said.append(("assistant", reply))
        self.prompts[model].append(seen.prompt)
        return seen


@pytest.mark.parametrize("dialect", EVERY_DIALECT)
def test_the_other_model_knows_what_was_said(gateway: Gateway, dialect: str) -> None:
    dialogue = Dialogue(gateway, f"in-{dialect}")
    for model, question in TURNS:
        dialogue.turn(EVERY_DIALECT[dialect], model, question)


def test_another_dialect_at_every_turn(gateway: Gateway) -> None:
    dialogue = Dialogue(gateway, "in-all")
    for speaker, (model, question) in zip(cycle(EVERY_DIALECT.values()), (*TURNS, *TURNS[:2]), strict=False):
        dialogue.turn(speaker, model, question)
