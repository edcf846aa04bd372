"""What tells one engine's caches from another's, and when a request may be sent to a slot."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from fake_engine import fake_engine

from moltbot_edge.config.schema import Engines
from moltbot_edge.local.keeping import KeepsNothing
from moltbot_edge.local.launch import EngineModel, Launcher, identity, pins

pytestmark = pytest.mark.anyio
WORDS = ("llama-server", "--ctx-size", "512", "--threads", "4", "--model", "a.gguf", "--port", "1", "--jinja")
SAVES = "print('--slot-save-path PATH  path to save slot kv cache')"


class Notes(KeepsNothing):
    """Keeps what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[tuple[str, str | None, bool]] = []

    def slot_path(self, name: str) -> str | None:
        return str(self.folder)

    def starts(self, name: str, identity: str | None, pins: bool) -> None:
        self.told.append((name, identity, pins))


async def identities(program: Path, file: Path, *args: str) -> list[tuple[str, str | None, bool]]:
    notes = Notes(program.parent / "kv")
    engines = Engines(command=str(program))
    launcher = Launcher(engines, {}, logging.getLogger("test"), notes)
    command = await launcher.command(EngineModel("small", file, args), ())
    assert (notes.slot_path("small") in command.words) is (notes.told[0][1] is not None)
    return notes.told


def changed(*pairs: tuple[str, str]) -> str:
    words = list(WORDS)
    for option, value in pairs:
        words[words.index(option) + 1] = value
    return identity("help", words, ["model"])


def test_an_address_a_place_and_a_speed_change_no_cache() -> None:
    assert changed() == changed(("--port", "2"), ("--model", "b.gguf"), ("--threads", "1"))


def test_a_flag_a_build_and_a_model_do() -> None:
    plain = changed()
    assert plain != changed(("--ctx-size", "1024"))
    assert plain != identity("help", [*WORDS, "--lora", "x"], ["model"])
    assert plain != identity("other help", WORDS, ["model"])
    assert plain != identity("help", WORDS, ["another model"])


@pytest.mark.parametrize(
    ("words", "may"),
    [
        ((), True),
        (("--cache-ram", "0"), True),
        (("--cache-ram", "2048"), False),
        (("-cram", "-1"), False),
    ],
)
def test_no_request_is_pinned_where_the_engine_moves_prompts_itself(words: tuple[str, ...], may: bool) -> None:
    assert pins(["llama-server", *words]) is may


async def test_the_same_file_has_the_same_identity_until_it_is_written(tmp_path: Path, small_file: Path) -> None:
    program = fake_engine(tmp_path, "serve()", on_help=SAVES)
    first = await identities(program, small_file)
    assert first == await identities(program, small_file)
    ((name, _, may),) = first
    assert (name, may) == ("small", True)
    os.utime(small_file, (1, 1))
    assert await identities(program, small_file) != first


async def test_a_build_that_cannot_save_and_a_user_who_keeps_them_elsewhere_are_left_alone(
    tmp_path: Path, small_file: Path
) -> None:
    assert await identities(fake_engine(tmp_path, "serve()"), small_file) == [("small", None, True)]
    program = fake_engine(tmp_path, "serve()", on_help=SAVES)
    assert await identities(program, small_file, "--slot-save-path", "/mine") == [("small", None, True)]
