"""The official clients for JavaScript: each script of js/, run by node against each target, has many tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from clients.target import KEY, WRONG_KEY, Target

HERE = Path(__file__).parent / "js"
PLACE = Path(__file__).parents[2] / ".cache/clients-js"
SCRIPTS = sorted(path.name for path in HERE.glob("*.mjs") if path.name != "shared.mjs")
WANTED = ("package.json", "package-lock.json")
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


@pytest.fixture(scope="module")
def place() -> Path:
    """A folder with the clients and a copy of the scripts: node looks for modules beside the file that it runs."""
    if shutil.which("npm") is None:
        pytest.fail("the clients for JavaScript need node and npm: sudo apt install nodejs npm")
    PLACE.mkdir(parents=True, exist_ok=True)
    installed = PLACE / "node_modules/.package-lock.json"
    if not installed.exists() or any(
        not (PLACE / name).exists() or (PLACE / name).read_bytes() != (HERE / name).read_bytes() for name in WANTED
    ):
        for name in WANTED:
            shutil.copy(HERE / name, PLACE)
        subprocess.run(INSTALL, cwd=PLACE, check=True)
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, PLACE)
    return PLACE


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_client_for_javascript(script: str, place: Path, target: Target) -> None:
    environment = {
        "URL_OF_GATEWAY": target.url,
        "KEY": KEY,
        "WRONG_KEY": WRONG_KEY,
        "CHAT": target.chat,
        "EMBED": target.embed,
        "SEE": target.see,
        "EMBEDS": str(int(target.embeds)),
    }
    command = ["node", "--test-reporter=spec", script]
    run = subprocess.run(
        command, cwd=place, env=os.environ | environment, capture_output=True, text=True, timeout=160, check=False
    )
    print(run.stdout, run.stderr)  # pytest shows it of a failure
    assert run.returncode == 0
    assert "pass 0" not in run.stdout
