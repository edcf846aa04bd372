"""What every test shares. A part's fixtures stand beside its tests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

# Hypothesis's own deadline would be a time asserted: on a busy board it says nothing of the code.
settings.register_profile("moltbot", deadline=None)
settings.load_profile("moltbot")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Asynchronous tests run on the event loop that the gateway runs on."""
    return "asyncio", {"use_uvloop": True}
