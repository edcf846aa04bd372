"""Every store, on its real part: a folder, a Redis server of its own, this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from kept_sessions import RedisServer, options

from moltbot_edge.core.store import Opens, StoreOptions
from moltbot_edge.kernel.registry import BUILTINS, Registry


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    program = shutil.which("redis-server")
    assert program, "no redis-server: apt install redis-server, as .ci/run does"
    server = RedisServer(program, tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=sorted(BUILTINS["store"]))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Opens, StoreOptions]:
    name = request.param
    url = request.getfixturevalue("redis_server").url if name == "redis" else ""
    return Registry().build("store", name), options(tmp_path / "sessions", url=url)
