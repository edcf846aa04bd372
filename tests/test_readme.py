"""README.md and CONTRIBUTING.md: what they show is there and works. Its words from the model: tests of the engine."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from moltbot_edge.config.known import known
from moltbot_edge.config.load import read
from moltbot_edge.kernel.registry import Registry

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md"]
README = (ROOT / "README.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_mentioned_are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    linked = re.findall(r"\]\(([\w./-]+)\)", text)
    told = re.findall(r"\b((?:scripts|tests|docs|config)/[\w.-]+)", text)
    mentioned = {*linked, *(name.rstrip(".") for name in told)}
    assert {
        name for name in mentioned if not any((base / name).exists() for base in (ROOT, ROOT / "moltbot_edge"))
    } == set()


@pytest.mark.parametrize("example", blocks("yaml"), ids=lambda example: example[:20])
def test_each_configuration_loads(tmp_path: Path, example: str) -> None:
    (tmp_path / "models").mkdir()
    for name in re.findall(r"file: (\S+\.gguf)", example):
        (tmp_path / "models" / name).touch()
    file = tmp_path / "moltbot.yaml"
    file.write_text(example)
    assert read(file, {}, known=lambda config: known(Registry())).problems == ()


def test_the_question_is_one_that_curl_can_send() -> None:
    (block,) = (block for block in blocks("sh") if block.startswith("curl"))
    words = shlex.split(block)
    assert json.loads(words[words.index("-d") + 1])["stream"] is True
    assert words[2].endswith("/v1/chat/completions")


def test_the_python_is_python() -> None:
    assert [ast.parse(block) for block in blocks("python")]


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block[:20])
def test_the_shell_blocks_are_whole(block: str) -> None:
    subprocess.run(["bash", "-n", "-c", block], check=True)


def test_every_script_is_in_the_table() -> None:
    scripts = {path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and path.stat().st_mode & 0o100}
    assert {name for name in scripts if f"| `scripts/{name}" not in README} == set()
