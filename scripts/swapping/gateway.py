"""A gateway in a process of its own: asked over HTTP, measured through ``/proc``, ended or killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from moltbot_edge.local.memory import Memory

ROOT = Path(__file__).resolve().parents[2]
STARTS_S = 30.0
ENDS_S = 60.0
REPLY_S = 600.0  # a model's load and another's reply before it, on a busy board


class Gateway:
    """*models* are entries of `model_registry`, *more* further sections. Its log goes to *folder*."""

    def __init__(
        self, folder: Path, models: list[Mapping[str, Any]], engines: Mapping[str, Any], **more: Mapping[str, Any]
    ) -> None:
        self.port = _free_port()
        self.folder = folder
        self._memory = Memory()
        settings: dict[str, Any] = {
            "server": {"port": self.port},
            "model_store": str(folder),
            "model_registry": [dict(model) for model in models],
            "engines": {"kv_path": str(folder / "kv"), **engines},
            **more,
        }
        self._config = folder / "gateway.yaml"
        self._config.write_text(yaml.safe_dump(settings))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        self._spawn()
        assert self._process is not None
        async with asyncio.timeout(STARTS_S):
            while (await self.get("/health"))[0] != 200:
                if self._process.poll() is not None:
                    raise RuntimeError(f"the gateway did not start; see {self.folder / 'gateway.log'}")
                await asyncio.sleep(0.02)

    def _spawn(self) -> None:
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moltbot_edge", "serve", "--config", str(self._config)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """Its exit status."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    async def get(self, path: str) -> tuple[int, bytes]:
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    async def complete(self, model: str, prompt: str, tokens: int, **more: Any) -> tuple[int, bytes]:
        """Status and body of one completion; status 0 where none came."""
        asked = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, **more}
        body = json.dumps(asked).encode()
        head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        return await self._ask(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of all series of *name* that have these *labels*."""
        text = (await self.get("/metrics"))[1].decode()
        found = re.findall(rf"^{name}(?:\{{(.*?)\}})? (\S+)$", text, re.MULTILINE)
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        return sum(float(value) for said, value in found if wanted <= set(said.split(",")))

    def engine_bytes(self) -> int:
        """The sum of what all processes below it take."""
        return self._memory.share(pid for pid in self._memory.family(self.pid) if pid != self.pid).pss

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(REPLY_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(request)
                reply = await reader.read()
                writer.close()
        except (OSError, TimeoutError):
            return 0, b""
        head, _, body = reply.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
