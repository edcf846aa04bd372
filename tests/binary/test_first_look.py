"""qemu/user, which a person asks first: does this file serve from an empty root, as this CPU?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from binary.target import Target

SCRIPT = Path(__file__).parents[2] / "qemu/user"
OLDEST = {"x86_64": "qemu64"}  # x86-64 without anything that came later


def looked(target: Target, cpu: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(SCRIPT), target.arch, cpu, str(target.program), *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.only("alone")
def test_it_passes_at_first_look(target: Target) -> None:
    done = looked(target, target.cpu)
    assert done.returncode == 0, done.stdout
    assert f"PASS user {target.arch} {target.cpu}" in done.stdout


@pytest.mark.only("alone", "native")
def test_it_asks_nothing_of_the_processor_that_the_oldest_cannot_do(target: Target) -> None:
    if target.arch in OLDEST:
        done = looked(target, OLDEST[target.arch])
        assert done.returncode == 0, done.stdout


@pytest.mark.only("alone", "native")
def test_a_command_is_run_and_shown(target: Target) -> None:
    done = looked(target, target.cpu, "--version")
    assert done.returncode == 0, done.stdout
    assert "\nmoltbot-edge " in done.stdout
