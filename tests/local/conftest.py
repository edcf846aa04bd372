"""The real parts that tests of the engines need are told by where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gguf_file import chat_model as chat_model_bytes


@pytest.fixture(scope="session")
def llama_server() -> Path:
    return Path(os.environ["MOLTBOT_TEST_LLAMA_SERVER"])


@pytest.fixture(scope="session")
def chat_model() -> Path:
    return Path(os.environ["MOLTBOT_TEST_GGUF"])


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """A GGUF file that says it is a chat model; good for all but answering."""
    file = tmp_path / "small.gguf"
    file.write_bytes(chat_model_bytes())
    return file
