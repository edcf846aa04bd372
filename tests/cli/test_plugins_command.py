"""``moltbot-edge plugins``"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from moltbot_edge.cli.plugins import plugins
from moltbot_edge.kernel.registry import BUILTINS

Run = Callable[..., subprocess.CompletedProcess[str]]

POLICY = """
from moltbot_edge.api import policy

@policy("{name}")
def ordered(candidates, query):
    return candidates
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    (tmp_path / "moltbot.yaml").write_text("plugins: {folder: plugins}\n")
    return folder


def put(folder: Path, name: str, source: str) -> Path:
    file = folder / name
    file.write_text(source)
    file.chmod(0o644)
    return file


def test_it_lists_what_was_found_and_what_takes_the_place_of_a_built_in(run: Run, folder: Path) -> None:
    mine = put(folder, "mine.py", POLICY.format(name="mine"))
    other = put(folder, "other.py", POLICY.format(name="weighted"))
    done = run("plugins")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[:3] == [
        ["folder:", str(folder)],
        ["policy", "mine", str(mine)],
        ["policy", "weighted", f"{other},", "in", "place", "of", "the", "built-in", "one"],
    ]
    assert ["policy", "round-robin", "built", "in"] in lines
    assert ["policy", "weighted", "built", "in"] not in lines


def test_programs_get_the_same_as_json(run: Run, folder: Path) -> None:
    mine = put(folder, "mine.py", POLICY.format(name="weighted"))
    said = json.loads(run("plugins", "--json").stdout)
    assert said == {
        "folder": str(folder),
        "plugins": [{"kind": "policy", "name": "weighted", "origin": str(mine), "replaces_built_in": True}],
        "built_in": {kind: list(names) for kind, names in BUILTINS.items()},
        "problems": [],
    }


def test_what_is_wrong_is_said_with_its_line_and_the_others_are_listed(run: Run, folder: Path) -> None:
    broken = put(folder, "broken.py", "import json\nsurely_not\n")
    put(folder, "mine.py", POLICY.format(name="mine"))
    done = run("plugins")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == f"{broken}:2: NameError: name 'surely_not' is not defined"
    assert "  policy   mine " in done.stdout
    assert json.loads(run("plugins", "--json").stdout)["problems"] == [
        {"origin": str(broken), "line": 2, "message": "NameError: name 'surely_not' is not defined"}
    ]


def test_two_of_one_name_are_a_problem(run: Run, folder: Path) -> None:
    for name in ("a.py", "b.py"):
        put(folder, name, POLICY.format(name="mine"))
    done = run("plugins")
    assert done.returncode == 1
    assert "two plug-ins are the policy 'mine'" in done.stdout


def test_without_a_folder_it_says_how_to_have_one(run: Run) -> None:
    done = run("plugins")
    assert done.returncode == 0
    assert done.stdout.startswith("folder: none; set plugins.folder")


def test_a_configuration_that_cannot_be_read_is_said(run: Run, tmp_path: Path) -> None:
    done = run("plugins", "--config", "none.yaml")
    assert done.returncode == 1
    assert "none.yaml: cannot be read: No such file" in done.stdout


def test_other_mistakes_of_the_configuration_are_left_to_check(run: Run, tmp_path: Path) -> None:
    (tmp_path / "moltbot.yaml").write_text("server: {port: none}\n")
    assert run("plugins").returncode == 0


def test_from_source_a_plug_in_may_import_the_whole_library_and_the_binary_has_fewer(run: Run) -> None:
    done = run("plugins", "--modules")
    assert set(done.stdout.split()) == {name for name in sys.stdlib_module_names if not name.startswith("_")}
    assert "the one-file binary has fewer" in done.stderr.lower()
    said = json.loads(run("plugins", "--modules", "--json").stdout)
    assert said["whole_library"] is True
    assert "json" in said["modules"]


def test_in_the_binary_it_lists_what_the_build_put_in(contents: None) -> None:
    done = CliRunner().invoke(plugins, ["--modules"])
    assert done.stdout.split() == ["json", "xml.etree.ElementTree"]
    assert done.stderr == ""
    said = json.loads(CliRunner().invoke(plugins, ["--modules", "--json"]).stdout)
    assert said == {"modules": ["json", "xml.etree.ElementTree"], "whole_library": False}


def test_in_the_binary_a_plug_in_is_told_what_it_may_import(contents: None, folder: Path) -> None:
    put(folder, "mine.py", "import json\nimport numpy_or_so\n")
    done = CliRunner().invoke(plugins, ["--config", str(folder.parent / "moltbot.yaml")])
    assert done.exit_code == 1
    assert "mine.py:2: ModuleNotFoundError: No module named 'numpy_or_so'; " in done.stdout
    assert "`moltbot-edge plugins --modules`" in done.stdout
