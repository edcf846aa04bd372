"""Every store, on its real part: a folder, a Redis server of its own, this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from kept_sessions import options

from moltbot_edge.core.store import Opens, StoreOptions
from moltbot_edge.kernel.registry import BUILTINS, Registry


@pytest.fixture(params=sorted(BUILTINS["store"]))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Opens, StoreOptions]:
    name = request.param
    url = request.getfixturevalue("redis_server").url if name == "redis" else ""
    return Registry().build("store", name), options(tmp_path / "sessions", url=url)
