"""A conversation that goes from one model to another at every turn: the command, two real models, unlike templates.

Who asks sends the new message only. What each model was given is told by its engine, word for word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import engine_eyes
import pytest
from openai import OpenAI
from openai.types import CompletionUsage
from speakers import ANY_KEY, EVERY_DIALECT, TIMEOUT_S, TOKENS, Completions, Responses, Said, Speaker, openai_chat
from swapping.gateway import Gateway

pytestmark = pytest.mark.thorough

HERE = Path(__file__).parent
GENTLE = ["--threads", "1", "--poll", "0"]  # two engines that spin starve each other on two cores
FAR = ("ollama", "anthropic-messages", "openai-responses", "openai-chat")  # what another box is asked in

ONE_FITS_MB = 500  # Gemma takes 460 of them, SmolLM2 180

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


class Board:
    """One gateway with both models, and another box, with one of its own, that it asks in every dialect."""

    def __init__(self, folder: Path, llama_server: Path, small: Path, big: Path, **engines: Any) -> None:
        engines = {"command": str(engine_eyes.telling(llama_server, folder)), **engines}
        (folder / "far").mkdir()
        for place, file in (("small", small), ("narrow", small), ("big", big), ("far/far", small)):
            (folder / f"{place}.gguf").symlink_to(file)
        far: Mapping[str, Any] = {"name": "far", "file": "far.gguf", "context_tokens": 512, "engine_args": GENTLE}
        self.far = Gateway(folder / "far", [far], engines)
        # As the gateway itself has it where caches are kept: a prompt in a window that slides is not found again.
        strict = ["--chat-template-file", str(HERE / "gemma.jinja"), "--swa-full"]
        elsewhere = f"http://127.0.0.1:{self.far.port}"
        models: list[Mapping[str, Any]] = [
            {"name": "small", "file": "small.gguf", "context_tokens": 1024, "engine_args": GENTLE},
            {"name": "narrow", "file": "narrow.gguf", "context_tokens": 256, "engine_args": GENTLE},
            {"name": "big", "file": "big.gguf", "context_tokens": 2048, "engine_args": [*GENTLE, *strict]},
            *({"name": f"far-{kind}", "endpoint": elsewhere, "type": kind, "model": "far"} for kind in FAR),
        ]
        sessions = {"store": "disk", "path": str(folder / "sessions")}
        self.near = Gateway(folder, models, engines, sessions=sessions)

    def start(self) -> None:
        asyncio.run(self.near.start())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.near.port}"

    def prompt(self, model: str) -> str:
        """Of its last request."""
        if model.startswith("far-"):
            return engine_eyes.last(self.far.pid, "far").prompt
        return engine_eyes.last(self.near.pid, model).prompt


@pytest.fixture(scope="module")
def board(
    llama_server: Path, chat_model: Path, other_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Board]:
    """SmolLM2 of 135 million parameters, and Gemma 3 of 270 million, which reads twice as much."""
    made = Board(tmp_path_factory.mktemp("served"), llama_server, chat_model, other_model)
    made.start()
    try:
        asyncio.run(made.far.start())
        try:
            yield made
        finally:
            made.far.stop()
    finally:
        made.near.stop()


@pytest.fixture
def narrow_board(llama_server: Path, chat_model: Path, other_model: Path, tmp_path: Path) -> Iterator[Board]:
    """One of the two fits into its memory."""
    made = Board(tmp_path, llama_server, chat_model, other_model, memory_mb=ONE_FITS_MB, min_warm_s=0)
    made.start()
    try:
        yield made
    finally:
        made.near.stop()


class Dialogue:
    """One session. Whatever was said is in each prompt, once, and nothing else is."""

    def __init__(self, board: Board, session: str) -> None:
        self.said: list[tuple[str, str]] = []
        self._board = board
        self.name = session

    def turn(self, speaker: Speaker, model: str, question: str, *, whole: bool = False) -> str:
        """The prompt. Sent is the question, or the *whole* conversation once more."""
        sent = [*(self.said if whole else ()), ("user", question)]
        reply = speaker(self._board.url, self.name, model, sent)
        assert reply
        prompt = self._board.prompt(model)
        self.said.append(("user", question))
        assert prompt == (gemma if model == "big" else chatml)(self.said)
        self.said.append(("assistant", reply))
        return prompt


@pytest.mark.parametrize("dialect", EVERY_DIALECT)
def test_the_other_model_knows_what_was_said(board: Board, dialect: str) -> None:
    dialogue = Dialogue(board, f"in-{dialect}")
    for model, question in TURNS:
        dialogue.turn(EVERY_DIALECT[dialect], model, question)


@pytest.mark.parametrize("speaker", [Responses(), Completions()], ids=["previous_response_id", "context"])
def test_it_goes_on_after_what_the_last_reply_said(board: Board, speaker: Speaker) -> None:
    dialogue = Dialogue(board, "named by the gateway")
    for model, question in TURNS:
        dialogue.turn(speaker, model, question)


@pytest.mark.parametrize("dialect", EVERY_DIALECT)
def test_who_sends_all_that_was_said_is_not_doubled(board: Board, dialect: str) -> None:
    dialogue = Dialogue(board, f"whole-in-{dialect}")
    for model, question in TURNS[:3]:
        dialogue.turn(EVERY_DIALECT[dialect], model, question, whole=True)


def test_another_dialect_at_every_turn(board: Board) -> None:
    dialogue = Dialogue(board, "in-all")
    for speaker, (model, question) in zip(cycle(EVERY_DIALECT.values()), (*TURNS, *TURNS[:2]), strict=False):
        dialogue.turn(speaker, model, question)


@pytest.mark.parametrize("kind", FAR)
def test_a_turn_elsewhere_in_another_dialect(board: Board, kind: str) -> None:
    dialogue = Dialogue(board, f"by-{kind}")
    for model, question in (TURNS[0], (f"far-{kind}", TURNS[1][1]), TURNS[3]):
        dialogue.turn(openai_chat, model, question)


def test_a_narrow_window_is_shown_what_fits_and_the_next_model_all(board: Board) -> None:
    dialogue = Dialogue(board, "through-the-narrow")
    left_out: list[int] = []

    def fitted(url: str, session: str, model: str, said: Said) -> str:
        with OpenAI(base_url=f"{url}/v1", api_key=ANY_KEY, max_retries=0, timeout=TIMEOUT_S) as client:
            raw = client.chat.completions.with_raw_response.create(
                model=model,
                messages=[{"role": "user", "content": said[-1][1]}],
                max_tokens=TOKENS,
                temperature=0,
                extra_body={"session": session},
            )
        whole = [*dialogue.said, said[-1]]
        prompts = [chatml(whole[place:]) for place in range(0, len(whole), 2)]
        left_out.append(prompts.index(board.prompt(model)))
        named = (raw.headers.get("x-moltbot-dropped"), raw.headers.get("x-moltbot-fitted", "").partition(",")[0])
        assert named == (("session.turns", f"turns={left_out[-1]}") if left_out[-1] else (None, ""))
        return raw.parse().choices[0].message.content or ""

    for round in range(5):
        question = f"explain quantum computing simply, in other words than those {round} times before"
        dialogue.said += [
            ("user", question),
            ("assistant", fitted(board.url, dialogue.name, "narrow", [("user", question)])),
        ]
        dialogue.turn(openai_chat, "big", "now with mathematics")
    assert left_out[0] == 0 < left_out[-1]


@pytest.mark.parametrize("ends", [Gateway.stop, Gateway.kill], ids=["ended", "killed"])
def test_it_goes_on_when_the_gateway_comes_back(board: Board, ends: Callable[[Gateway], object]) -> None:
    dialogue = Dialogue(board, f"after-it-was-{ends.__name__}")
    for place, (model, question) in enumerate(TURNS[:3]):
        if place:
            ends(board.near)
            board.start()
        dialogue.turn(openai_chat, model, question)


def test_models_that_take_turns_in_memory(narrow_board: Board) -> None:
    dialogue = Dialogue(narrow_board, "in-turns")
    for model, question in TURNS:
        dialogue.turn(openai_chat, model, question)
    assert asyncio.run(narrow_board.near.metric("moltbot_engine_starts_total")) == len(TURNS)


@pytest.mark.parametrize("model", ["small", "big"])
def test_who_stays_with_a_model_spares_it_what_it_has_read(board: Board, model: str) -> None:
    dialogue = Dialogue(board, f"with-{model}")
    used: list[CompletionUsage] = []

    def counted(url: str, session: str, model: str, said: Said) -> str:
        with OpenAI(base_url=f"{url}/v1", api_key=ANY_KEY, max_retries=0, timeout=TIMEOUT_S) as client:
            reply = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": said[-1][1]}],
                max_tokens=TOKENS,
                temperature=0,
                extra_body={"session": session},
            )
        assert reply.usage is not None
        used.append(reply.usage)
        return reply.choices[0].message.content or ""

    before = ""
    for _, question in TURNS:
        prompt = dialogue.turn(counted, model, question)
        assert prompt.startswith(before)
        before = prompt + dialogue.said[-1][1]
    for one, other in pairwise(used):
        assert other.prompt_tokens_details is not None
        cached = other.prompt_tokens_details.cached_tokens
        assert cached is not None
        # The last of a reply is written and never read; with what follows, it may be cut up in another way.
        assert cached >= one.total_tokens - 3
