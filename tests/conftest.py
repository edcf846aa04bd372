"""What every test shares: the real engine and the real model. A part's own fixtures stand beside its tests."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import parts
import pytest
from hypothesis import HealthCheck, settings
from kept_sessions import RedisServer

# Hypothesis's own deadline would be a time asserted: on a busy board it says nothing of the code.
settings.register_profile("moltbot", deadline=None)
# 100,000 conversations and replies, with `--hypothesis-profile=long -o timeout=0 tests/dialects/test_translation.py`.
settings.register_profile("long", deadline=None, max_examples=8_400, suppress_health_check=list(HealthCheck))
settings.load_profile("moltbot")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("moltbot-edge", "what tests/binary is run against; without these, the source")
    group.addoption("--binary", action="append", default=[], type=Path, metavar="FILE", help="a built file; repeatable")
    group.addoption(
        "--cpu",
        action="append",
        default=[],
        help="a CPU for files of another architecture; without it, all; repeatable",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged may be a file's name that is no text, which one process could not tell the other."""
    report = yield
    report.sections = [(name, said.encode(errors="backslashreplace").decode()) for name, said in report.sections]
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_caches_of_engines() -> Iterator[None]:
    """A gateway that a test runs as a process of its own leaves nothing in this machine's folder."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("MOLTBOT_EDGE_ENGINES_KV_DISK_MB", "0")
        yield


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Asynchronous tests run on the event loop that the gateway runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def llama_server() -> Path:
    """A llama-server that runs on this machine; brought where there is none."""
    return parts.engine()


@pytest.fixture(scope="session")
def chat_model() -> Path:
    """SmolLM2-135M-Instruct, whose answers at temperature 0 are known."""
    return parts.model()


@pytest.fixture(scope="session")
def other_model() -> Path:
    """Gemma 3 270M: of another family and size, with another vocabulary. It completes; a template makes it chat."""
    return parts.base_model()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Its own, and empty."""
    program = shutil.which("redis-server")
    assert program, "no redis-server: apt install redis-server, as .ci/run does"
    server = RedisServer(program, tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()
