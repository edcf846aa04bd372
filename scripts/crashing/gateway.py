"""The gateway's process: started, asked, killed; and of what it was handed, what a disk had when its power went."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCE = (sys.executable, "-m", "moltbot_edge", "serve")
STARTS_S = 60.0
ENDS_S = 60.0
SESSIONS = "sessions"  # in its folder
POWER = Path(__file__).with_name("power.c")


def powered(folder: Path, kept: Path, durable: Path) -> dict[str, str]:
    """The environment of a process of whose files in *kept* those in *durable* are left; *folder* gets the library."""
    library = folder / "power.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, POWER, "-ldl"], check=True)
    for one in (kept, durable):
        one.mkdir(exist_ok=True)
    return {"LD_PRELOAD": str(library), "POWER_FROM": str(kept), "POWER_TO": str(durable)}


class Gateway:
    """*folder* gets its log; *up* while it serves. *killed* from a kill, one of so many *kills*, to the next start."""

    def __init__(
        self,
        folder: Path,
        name: str,
        upstream: str,
        sessions: Mapping[str, Any],
        *,
        command: Sequence[str],
        power: bool,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.up = False
        self.killed = True
        self.kills = 0
        self.log = folder / f"{name}.log"
        self._command = command
        self._kept, self._durable = folder / SESSIONS, folder / "durable"
        self._config = folder / f"{name}.yaml"
        settings = {
            "server": {"port": self.port},
            "model_store": str(folder),
            "model_registry": [{"name": "chat", "endpoint": upstream, "type": "openai-chat"}],
            "sessions": dict(sessions),
            "limits": {"ping_after_s": ENDS_S},  # a reply that began with one had no turn yet to put in its head
        }
        self._config.write_text(yaml.safe_dump(settings))
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._power = power
        if power:
            self._environment |= powered(folder, self._kept, self._durable)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "--config", str(self._config)], env=self._environment, stdout=log, stderr=log
            )
        self.killed = False

    async def serves(self) -> None:
        """Once it does."""
        assert self._process is not None
        async with asyncio.timeout(STARTS_S):
            while not await self._healthy():
                if self._process.poll() is not None:
                    raise RuntimeError(f"the gateway did not start: {self.log.read_text(errors='replace')[-2000:]}")
                await asyncio.sleep(0.01)
        self.up = True

    async def _healthy(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b" 200 " in await reader.readline()
        except OSError:
            return False
        finally:
            writer.close()

    def kill(self) -> None:
        """May be called again."""
        assert self._process is not None
        self.killed = True
        self.kills += 1
        self.up = False
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        if self._power:
            _copy(self._durable, self._kept)

    def read_by_others(self) -> None:
        """While it did not run: what they closed, they synchronised, and no `power` saw it."""
        if self._power:
            _copy(self._kept, self._durable)

    def stop(self) -> int:
        """Its exit status."""
        assert self._process is not None
        self.up = False
        self._process.terminate()
        try:
            return self._process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def _copy(folder: Path, to: Path) -> None:
    shutil.rmtree(to)
    shutil.copytree(folder, to)
