"""The command as a person has it: a process of its own, in a folder of its own, with an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import moltbot_edge

ROOT = Path(moltbot_edge.__file__).parents[1]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "moltbot_edge", *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that the build of the one-file binary writes, as if this were that binary."""
    module = ModuleType("moltbot_edge._contents")
    module.__dict__["PLUGIN_MODULES"] = ("xml.etree.ElementTree", "json")
    monkeypatch.setitem(sys.modules, module.__name__, module)
