"""The table of commands: what is listed, and what is read before a command is called."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import moltbot_edge
from moltbot_edge.cli.main import COMMANDS

Run = Callable[..., subprocess.CompletedProcess[str]]

FOLDER = Path(moltbot_edge.__file__).parent / "cli"
NOT_COMMANDS = {"__init__", "main", "reading", "probe", "running", "progress", "listing", "kept", "transcript"}


def test_the_version_is_told_in_one_line(run: Run) -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"moltbot-edge {moltbot_edge.__version__}\n")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_every_command_with_an_example(run: Run, option: str) -> None:
    done = run(option)
    assert done.returncode == 0
    for name, command in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert f"  {command.example}\n" in done.stdout
        assert command.example.startswith(f"moltbot-edge {name}")


@pytest.mark.parametrize("name", [*COMMANDS, "keys new"])
def test_each_commands_own_help_has_an_example(run: Run, name: str) -> None:
    done = run(*name.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert f"  moltbot-edge {name}" in done.stdout.partition("Examples:")[2]


def test_every_file_is_a_command_and_every_command_a_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - NOT_COMMANDS == set(COMMANDS)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_read_nothing_but_click(option: str) -> None:
    """On a slow board every import is felt; the figures are in the benchmark, the cause is here."""
    script = (
        "import json, sys\nfrom moltbot_edge.cli.main import cli\n"
        f"cli([{option!r}], standalone_mode=False)\nprint(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=FOLDER.parents[1]
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    ours = {name for name in modules if name.startswith("moltbot_edge")}
    assert ours == {"moltbot_edge", "moltbot_edge.cli", "moltbot_edge.cli.main"}
    assert not {"yaml", "msgspec", "uvloop", "asyncio"} & {*modules}


def test_an_unknown_command_names_those_that_there_are(run: Run) -> None:
    done = run("chek")
    assert done.returncode == 2
    assert "no command is named 'chek'; there are: serve, check, keys, models, plugins" in done.stderr


def test_a_file_in_a_commands_place_is_told_how_to_be_served(run: Run) -> None:
    done = run("moltbot.yaml")
    assert done.returncode == 2
    assert "moltbot-edge serve --config moltbot.yaml" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--config", "none.yaml")])
def test_no_command_means_serve(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "moltbot.yaml").write_text("server: {port: none}\n")
    done = run(*arguments)
    assert done.returncode != 0
    assert (
        "none.yaml: cannot be read" if arguments else "moltbot.yaml:1: server.port: expected a whole"
    ) in done.stderr
