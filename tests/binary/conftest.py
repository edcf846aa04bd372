"""The targets that the command line asks for, and the gateway that most tests of one target share.

A test that can only be made in a root of its own, or only for a file that was built, is marked so; for other targets
it is deselected, because it says nothing of them.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from binary.memory import memory
from binary.names import Names, naming
from binary.place import Place
from binary.processes import gateway_of
from binary.served import BY_DNS, BY_HOSTS, Served
from binary.target import Target, source, targets
from scripted_upstream import refusing, says, upstream

from qemu.usermode.emulator import NotHere
from qemu.usermode.program import NotAProgram

ROOT = Path(__file__).parents[2]
# The first one that the documentation shows.
PLUGIN: str = re.findall(r"```python\n(.*?)```", (ROOT / "docs/extend.md").read_text(), re.DOTALL)[0]
TARGETS: pytest.StashKey[list[Target]] = pytest.StashKey()
MEASURED: pytest.StashKey[dict[str, str]] = pytest.StashKey()
TEST_S = 180  # as pyproject.toml has it, for a target that is not emulated

FITS: dict[str, Callable[[Target], bool]] = {
    "alone": lambda target: target.alone,
    "built": lambda target: target.built is not None,
    "bundle": lambda target: target.built is not None and not target.alone,
    "native": lambda target: not target.emulated,
    "named": lambda target: target.rooted and os.geteuid() == 0,  # port 53 is root's
    "unprivileged": lambda target: os.geteuid() != 0,  # root may read every file
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"only(kind): for targets that are {', '.join(FITS)}")
    config.stash[MEASURED] = {}
    built: list[Path] = config.getoption("--binary")
    unpacked = tempfile.TemporaryDirectory(prefix="moltbot-edge-unpacked-")
    config.add_cleanup(unpacked.cleanup)
    try:
        config.stash[TARGETS] = [
            target
            for number, file in enumerate(built)
            for target in targets(file.absolute(), config.getoption("--cpu"), Path(unpacked.name, str(number)))
        ] or [source()]
    except (NotHere, NotAProgram, OSError) as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        found: list[Target] = metafunc.config.stash[TARGETS]
        metafunc.parametrize("target", found, ids=str, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unfit = []
    for item in items:
        target = (
            item.callspec.params.get("target")
            if isinstance(item, pytest.Function) and hasattr(item, "callspec")
            else None
        )
        if not isinstance(target, Target):
            continue
        item.add_marker(pytest.mark.timeout(TEST_S * target.patience))
        if not all(FITS[kind](target) for mark in item.iter_markers("only") for kind in mark.args):
            unfit.append(item)
    config.hook.pytest_deselected(items=unfit)
    items[:] = [item for item in items if item not in unfit]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name, said in config.stash[MEASURED].items():
        terminalreporter.write_line(f"memory after start, {name}: {said}")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for all of the session, in which the shared gateway's upstreams serve."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Target:
    assert isinstance(request.param, Target)
    return request.param


@pytest.fixture
def place(target: Target, tmp_path: Path) -> Place:
    """The target by itself, in a place that nobody else has used."""
    return Place(target, tmp_path / "place")


@pytest.fixture
def documented_plugin() -> str:
    return PLUGIN


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def cloud_tls(authority: trustme.CA) -> ssl.SSLContext:
    """What an upstream shows who calls it by one of its names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(BY_DNS, BY_HOSTS, "localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
async def nameserver() -> AsyncIterator[tuple[str, Names] | None]:
    """Its address, and the names that it was asked; none for who may not listen on port 53."""
    if os.geteuid() != 0:
        yield None
        return
    async with naming({BY_DNS: "127.0.0.1"}) as served:
        yield served


@pytest.fixture(scope="session")
async def served(
    target: Target,
    authority: trustme.CA,
    cloud_tls: ssl.SSLContext,
    nameserver: tuple[str, Names] | None,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> AsyncIterator[Served]:
    """The gateway that most tests of *target* share. Each plays its own scripts at its upstreams."""
    place = Place(target, tmp_path_factory.mktemp("served") / "place")
    near_name, cloud_name = "localhost", "localhost"
    if target.rooted:
        place.put("/etc/hosts", f"127.0.0.1 localhost {BY_HOSTS}\n")
        near_name = cloud_name = BY_HOSTS
        if nameserver is not None:
            place.put("/etc/resolv.conf", f"nameserver {nameserver[0]}\n")
            cloud_name = BY_DNS
    place.put("/plugins/local_first.py", PLUGIN)
    trusted = place.put("/authority.pem", authority.cert_pem.bytes())
    with refusing() as nowhere:
        async with upstream(says()) as near, upstream(says()) as far, upstream(says(), tls=cloud_tls) as cloud:
            config = {
                "model_registry": [
                    {"name": "chat", "endpoint": near.url},
                    {"name": "near", "endpoint": f"http://{near_name}:{near.port}"},
                    {"name": "far", "endpoint": far.url},
                    {"name": "cloud", "endpoint": f"https://{cloud_name}:{cloud.port}"},
                    {"name": "gone", "endpoint": nowhere},
                ],
                "aliases": {
                    "nearest": {"models": ["far", "near"], "policy": "local-first", "options": {"local": [near_name]}}
                },
                "plugins": {"folder": "plugins"},
            }
            file = place.put("/moltbot.yaml", json.dumps(config))  # JSON is YAML
            with place.serving("--config", file, "--port", "0", environment={"SSL_CERT_FILE": trusted}) as gateway:
                await gateway.get("/health")
                if not target.emulated:
                    pytestconfig.stash[MEASURED][str(target)] = memory(gateway_of(gateway.process.pid))
                yield Served(gateway, near, far, cloud)
