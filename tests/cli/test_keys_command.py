"""``moltbot-edge keys``"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from moltbot_edge.config.load import load
from moltbot_edge.config.schema import Key

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_new_key_is_its_secret_once_and_its_line_for_the_file(run: Run) -> None:
    done = run("keys", "new", "kitchen", "--models", "chat, small")
    assert done.returncode == 0
    (secret,) = re.findall(r"sk-moltbot-\S+", done.stdout)
    assert len(base64.urlsafe_b64decode(secret.removeprefix("sk-moltbot-") + "=")) * 8 == 256
    digest = hashlib.sha256(secret.encode()).hexdigest()
    assert done.stdout.endswith(f'  - {{name: "kitchen", hash: "sha256:{digest}", models: ["chat", "small"]}}\n')


def test_two_keys_are_two_secrets(run: Run) -> None:
    first, second = (json.loads(run("keys", "new", "a", "--json").stdout) for _ in range(2))
    assert first["secret"] != second["secret"]


@pytest.mark.parametrize("name", ["kitchen", "no", "1", 'a "b" \\ c', "Küche #1: oben", "{a}"])
def test_the_line_is_a_configuration_whatever_the_name_holds(run: Run, tmp_path: Path, name: str) -> None:
    made = json.loads(run("keys", "new", name, "--json").stdout)
    file = tmp_path / "keys.yaml"
    file.write_text(f"server: {{host: 0.0.0.0}}\nkeys:\n{made['line']}\n")
    assert load(file, {}).keys == [Key(name=name, hash=made["hash"])]


@pytest.mark.parametrize("arguments", [(), ("",), ("a", "--models", ","), ("a", "b")])
def test_wrong_usage_makes_no_key(run: Run, arguments: tuple[str, ...]) -> None:
    done = run("keys", "new", *arguments)
    assert (done.returncode, done.stdout) == (2, "")


def test_an_administrators_key_says_so_in_its_line(run: Run, tmp_path: Path) -> None:
    made = json.loads(run("keys", "new", "boss", "--admin", "--json").stdout)
    file = tmp_path / "keys.yaml"
    file.write_text(f"keys:\n{made['line']}\n")
    assert load(file, {}).keys == [Key(name="boss", hash=made["hash"], admin=True)]
