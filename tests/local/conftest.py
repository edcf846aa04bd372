"""What the tests of the engines share."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf_file import chat_model as chat_model_bytes


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """A GGUF file that says it is a chat model; good for all but answering."""
    file = tmp_path / "small.gguf"
    file.write_bytes(chat_model_bytes())
    return file
