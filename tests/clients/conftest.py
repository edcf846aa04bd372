"""What the official clients are tried against: a gateway with real engines, and one that has it as an upstream.

The first is met in five ways: directly, and as an upstream of each dialect of the second. Engines and gateways are
shared by all tests of a run. Not here: what a client asks.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clients import eyes
from clients.target import CONTEXT_TOKENS, DIALECTS, KEY, Target

TOOLS = Path(__file__).parents[1] / "end_to_end/tools.jinja"
GENTLE = ["--threads", "2", "--poll", "0"]  # two engines that spin starve each other on two cores
SLOTS = 4
KEYS = [{"name": "clients", "hash": f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"}]


def pytest_configure(config: pytest.Config) -> None:
    """Some clients leave their connections to the collector: that is theirs to mend."""
    for left in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
        config.addinivalue_line("filterwarnings", f"ignore::{left}")
    # Those lines are read too late for what is collected after the last test.
    warnings.simplefilter("ignore", ResourceWarning)
    warnings.simplefilter("ignore", pytest.PytestUnraisableExceptionWarning)


@contextmanager
def gateway(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    """The command, as a process of its own; its URL."""
    file = folder / "moltbot.yaml"
    shared = {
        "server": {"port": 0},
        "model_store": str(folder / "nothing"),
        "sessions": {"path": str(folder / "sessions")},
        "keys": KEYS,
    }
    file.write_text(json.dumps(shared | config))  # JSON is YAML
    command = [sys.executable, "-m", "moltbot_edge", "serve", "--config", str(file)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        greeting = "".join(process.stdout.readline() for _ in range(4))
        found = re.search(r"base URL +(\S+)/v1", greeting)
        assert found is not None, greeting + (folder / "log").read_text()
        yield found[1]
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
        print((folder / "log").read_text())


@pytest.fixture(scope="session")
def with_engines(llama_server: Path, chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One file as three models: one calls tools, the hidden states of one are its embeddings, and one has eyes."""
    folder = tmp_path_factory.mktemp("engines")
    seeing = folder / "seeing.gguf"
    seeing.symlink_to(chat_model)
    eyes.write(folder / "mmproj-seeing.gguf")

    def model(name: str, *flags: str, file: Path = chat_model) -> dict[str, Any]:
        return {"name": name, "file": str(file), "engine_args": [*GENTLE, *flags], "pin": True}

    config = {
        "model_registry": [
            # A slot for each kind of question: what all clients begin with alike is read once.
            model("chat", "--jinja", "--chat-template-file", str(TOOLS), "--parallel", str(SLOTS))
            | {"context_tokens": CONTEXT_TOKENS * SLOTS},
            model("embed", "--embeddings", "--pooling", "mean") | {"context_tokens": 512},
            model("see", file=seeing) | {"context_tokens": 512},
        ],
        "engines": {"command": str(llama_server)},
    }
    with gateway(folder, config) as url:
        yield url


@pytest.fixture(scope="session")
def with_upstreams(with_engines: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Each model of the other gateway by each dialect."""
    config = {
        "model_registry": [
            {"name": f"{name}-by-{type_}", "model": name, "endpoint": with_engines, "type": type_, "api_key": KEY}
            for name in ("chat", "embed", "see")
            for type_ in DIALECTS
        ],
    }
    with gateway(tmp_path_factory.mktemp("upstreams"), config) as url:
        yield url


@pytest.fixture(scope="session", params=["engine", *DIALECTS])
def target(request: pytest.FixtureRequest) -> Target:
    if request.param == "engine":
        return Target(request.param, request.getfixturevalue("with_engines"), "chat", "embed", "see")
    url = request.getfixturevalue("with_upstreams")
    return Target(request.param, url, *(f"{name}-by-{request.param}" for name in ("chat", "embed", "see")))
