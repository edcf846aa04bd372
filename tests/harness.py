"""The real gateway, joined by `assemble` from a real configuration, on a real socket in the test's own event loop.

Whatever a test did, at its end nothing may be left: no body held, no upstream connection busy, no request in flight,
no task, no error in the log.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from raw_caller import QUESTION, Answer, Caller, caller
from scripted_upstream import Upstream

from moltbot_edge import assemble
from moltbot_edge.config.schema import Config, Key, Limits, Model, Router, Sessions
from moltbot_edge.core import catalog
from moltbot_edge.kernel.registry import Plugin, Registry

SEND_BUFFER_BYTES = 32 * 1024  # of the kernel, so that what a caller does not read is the gateway's to hold
ASSUMED = {"auto": "openai-chat"}
ASSUMED = {"auto": "openai-chat"}
TEST_S = 20  # fails instead of hanging
HELD = (
    *("moltbot_bodies_bytes", "moltbot_session_memory_bytes", "moltbot_in_flight"),
    *("moltbot_upstream_waiting", "moltbot_upstream_connections"),
)


class Gateway:
    """*errors* are those that it logged: there must be none at its end."""

    def __init__(
        self,
        server: assemble.Gateway,
        port: int,
        secret: str | None,
        errors: list[logging.LogRecord],
        tls: ssl.SSLContext | None,
    ) -> None:
        self.server = server
        self.errors = errors
        self.port = port
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
        self._secret = secret
        self._tls = tls

    def caller(self, *, receive_buffer_bytes: int | None = None) -> AbstractAsyncContextManager[Caller]:
        return caller(self.port, receive_buffer_bytes=receive_buffer_bytes, tls=self._tls)

    async def ask(self, body: Any = QUESTION, *headers: str, **request: Any) -> Answer:
        """One request on a connection of its own."""
        async with self.caller() as client:
            return await client.ask(body, *headers, **request)

    def stop(self) -> None:
        """What is under way is finished first."""
        self.server.stop()

    async def get(self, path: str, *headers: str) -> Answer:
        return await self.ask(None, *headers, path=path, method="GET")

    async def metrics(self, *begins: str) -> dict[tuple[str, ...], float]:
        """Every sample, or those whose names begin so: its name, then the values of its labels in their order."""
        key = () if self._secret is None else (f"x-api-key: {self._secret}",)
        answer = await self.get("/metrics", *key)
        assert answer.status == 200
        text = answer.body.decode()
        if begins:
            text = "".join(line for line in text.splitlines(keepends=True) if line.startswith(begins))
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def until(self, holds: Callable[[dict[tuple[str, ...], float]], bool]) -> None:
        """Once *holds* is true of the metrics; within two seconds, or it is a failure."""
        async with asyncio.timeout(2):
            while not holds(await self.metrics()):  # noqa: ASYNC110  (the gateway tells nobody)
                await asyncio.sleep(0.005)

    async def is_empty(self) -> None:
        """Nothing is held for anybody any more."""
        held = _held(await self.metrics(*HELD))
        try:
            async with asyncio.timeout(2):
                while held or self.server.callers.tasks:
                    await asyncio.sleep(0.002)
                    held = _held(await self.metrics(*HELD))
        except TimeoutError:
            raise AssertionError(f"left behind: {held}, {self.server.callers.tasks}") from None


def _held(metrics: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    return {
        name: value
        for name, value in metrics.items()
        if value and name[0] in HELD and (name[0] != "moltbot_upstream_connections" or name[-1] == "busy")
    }


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@asynccontextmanager
async def serving(
    config: Config,
    *,
    secret: str | None = None,
    callers_tls: ssl.SSLContext | None = None,
    plugins: Sequence[Plugin] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
    within_s: float = TEST_S,
    discover: bool = False,
    nearby: Sequence[catalog.Upstream] = (),
    stores: Sequence[Path] = (Path("nowhere"),),
) -> AsyncIterator[Gateway]:
    """The gateway of *config*. *secret* is a key for /metrics, *callers_tls* is for callers.

    Only with *discover* are upstreams of `type: auto` asked what they are: most tests count what an upstream is asked.
    Engines leave caches behind, and sessions are on a disk, only where *config* says in which folder: nothing of
    a test's is in the next one's.
    """
    if not discover:
        registry = [msgspec.structs.replace(one, type=ASSUMED.get(one.type, one.type)) for one in config.model_registry]
        config = msgspec.structs.replace(config, model_registry=registry)
    if config.engines.kv_path is None:
        config = msgspec.structs.replace(config, engines=msgspec.structs.replace(config.engines, kv_disk_mb=0))
    if config.sessions.store == "disk" and config.sessions.path == Sessions().path:
        config = msgspec.structs.replace(config, sessions=msgspec.structs.replace(config.sessions, store="memory"))
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    started = asyncio.Event()
    try:
        async with asyncio.timeout(within_s):
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
                sock.bind(("127.0.0.1", 0))
                port = sock.getsockname()[1]
                server = assemble.assemble(
                    config,
                    Registry(plugins),
                    list(stores),
                    environment=environment,
                    nearby=nearby,
                    on_started=lambda gateway, url: started.set(),
                )
                served = asyncio.get_running_loop().create_task(server.serve([sock]))
                await started.wait()
                gateway = Gateway(server, port, secret, errors.records, callers_tls)
                try:
                    yield gateway
                    if not server.stopping:
                        await gateway.is_empty()
                finally:
                    server.stop()
                    await served
    finally:
        logging.getLogger().removeHandler(errors)
    assert not errors.records, [record.getMessage() for record in errors.records]


def config(
    *upstreams: Upstream | str,
    name: str = "chat",
    attempts: int = 3,
    keys: Sequence[Key] = (),
    policy: str = "round-robin",
    **limits: Any,
) -> Config:
    """*upstreams* are the deployments of one alias, by themselves or their URLs; *limits* are fields of `Limits`.

    Who refuses connections is given up sooner than a machine that may just restart would be.
    """
    urls = [one if isinstance(one, str) else one.url for one in upstreams]
    return Config(
        model_registry=[Model(name=name, endpoint=url) for url in urls],
        router=Router(attempts=attempts, policy=policy, retry_for_s=0.2),
        keys=list(keys),
        limits=Limits(**limits),
    )
