"""What every test shares: the real engine and the real model. A part's own fixtures stand beside its tests."""

from __future__ import annotations

from pathlib import Path

import parts
import pytest
from hypothesis import settings

# Hypothesis's own deadline would be a time asserted: on a busy board it says nothing of the code.
settings.register_profile("moltbot", deadline=None)
settings.load_profile("moltbot")


@pytest.fixture(scope="session")
def llama_server() -> Path:
    """A llama-server that runs on this machine; fetched where there is none."""
    return parts.engine()


@pytest.fixture(scope="session")
def chat_model() -> Path:
    """SmolLM2-135M-Instruct: at temperature 0 it answers the same on every machine, nearly."""
    return parts.model()
