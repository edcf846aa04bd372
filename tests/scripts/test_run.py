"""scripts/run and scripts/test in a checkout that is set up, with a space in its path and no network."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def offline() -> dict[str, str]:
    """An environment in which whoever asks a registry is told off at once."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "MOLTBOT_", "CI", "PYTEST_", "COV_"))
    }
    nowhere = "http://127.0.0.1:9/"  # the discard port: refused
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": nowhere, "PIP_RETRIES": "0"}


@pytest.fixture
def checkout(tmp_path: Path, llama_server: Path, chat_model: Path) -> Path:
    """As the first run leaves it: a .venv whose stamps fit, and the parts on the shelf."""
    root = tmp_path / "my boards" / "moltbot edge"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / ".cache").mkdir()
    (root / ".cache/parts").symlink_to(chat_model.parents[1])
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / ".venv"], check=True)
    site = root / f".venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    (site / "here.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    command = root / ".venv/bin/moltbot-edge"
    command.write_text(f'#!/bin/sh\nexec "{root}/.venv/bin/python" -m moltbot_edge "$@"\n')
    command.chmod(0o755)
    stamp = 'source "$0/scripts/venv.sh"; installed_key "$(venv_python_version)" >"$0/.venv/.installed-test"'
    subprocess.run(["bash", "-c", stamp, root], check=True)
    return root


def test_a_second_run_asks_nobody_and_says_what_it_has(checkout: Path, offline: dict[str, str], tmp_path: Path) -> None:
    run = subprocess.run(
        [checkout / "scripts/run", "--help"], cwd=tmp_path, env=offline, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert f"python  {checkout}/.venv" in run.stdout
    assert "as it was" in run.stdout
    assert re.search(r"^engine  /.*llama-server \(", run.stderr, re.MULTILINE)
    assert re.search(r"^models? +/.*\.gguf \(brought before\)", run.stderr, re.MULTILINE)
    assert "moltbot-edge serve" in run.stdout


def test_a_changed_project_is_installed_again(checkout: Path, offline: dict[str, str]) -> None:
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("\n# changed\n")
    run = subprocess.run([checkout / "scripts/run"], env=offline, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "installing moltbot-edge into .venv" in run.stdout
    assert "Is this machine online?" in run.stderr


def test_the_small_model_is_served_as_the_readme_says_until_a_signal(
    checkout: Path, offline: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    process = subprocess.Popen(
        [checkout / "scripts/run", "--port", "0"],
        cwd=tmp_path / "elsewhere",
        env=offline | {"MOLTBOT_EDGE_SESSIONS_PATH": str(tmp_path / "sessions")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = ""
        while "metrics" not in said:
            line = process.stdout.readline()
            assert line, f"it ended: {said}"
            said += line
        base = re.search(r"base URL +(http://\S+)/v1", said)
        assert base is not None, said
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
            pasted = block.replace("http://127.0.0.1:8080", base[1])
            words = subprocess.run(
                [sys.executable, "-c", pasted], env=offline, capture_output=True, text=True, check=True
            )
            assert words.stdout == "The capital of France is Paris.\n"
        first, second = conversation(base[1], offline)
        assert first["model"] == "smollm2-135m-instruct.q4_1"
        read = second["usage"]
        assert read["prompt_tokens"] > first["usage"]["total_tokens"]
        # The last of a reply is written and never read; with what follows, it may be cut up in another way.
        assert read["prompt_tokens_details"]["cached_tokens"] >= first["usage"]["total_tokens"] - 3
        with urllib.request.urlopen(f"{base[1]}/metrics") as reply:
            assert b'model="smollm2-135m-instruct.q4_1",status="200"' in reply.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in {0, -signal.SIGTERM}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def conversation(url: str, environment: dict[str, str]) -> list[Any]:
    """What is answered to the block that asks twice."""
    (block,) = re.findall(r"```sh\n(ask\(\) .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    pasted = block.replace("http://127.0.0.1:8080", url)
    run = subprocess.run(["bash", "-c", pasted], env=environment, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_a_configuration_decides_what_is_served(checkout: Path, offline: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "moltbot.yaml"
    config.write_text("model_registry:\n  - {name: a, endpoint: 'http://127.0.0.1:9', type: nonsense}\n")
    run = subprocess.run(
        [checkout / "scripts/run", "--config", config], env=offline, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "nonsense" in run.stderr
    assert "model   " not in run.stderr


@pytest.mark.parametrize("script", ["run", "test", "lint"])
def test_a_python_that_is_too_old_is_an_error_that_says_what_to_install(
    checkout: Path, offline: dict[str, str], script: str
) -> None:
    shutil.rmtree(checkout / ".venv")
    run = subprocess.run(
        [checkout / "scripts" / script],
        env=offline | {"PYTHON": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "sudo apt install python3 python3-venv" in run.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_an_error_that_says_what_to_install(
    checkout: Path, offline: dict[str, str], tmp_path: Path
) -> None:
    shutil.rmtree(checkout / ".venv")
    bare = tmp_path / "python3"
    bare.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"\n')
    bare.chmod(0o755)
    run = subprocess.run(
        [checkout / "scripts/run"],
        env=offline | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "sudo apt install python3-venv" in run.stderr
