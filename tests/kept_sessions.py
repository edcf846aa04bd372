"""What the tests of stores share: turns, options with a clock, and a Redis server."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from moltbot_edge.core.chat import Message, Role, Text
from moltbot_edge.core.session import CHANCE_BYTES, Turn, made_id
from moltbot_edge.core.store import StoreOptions

MIB = 1024 * 1024


class Clock:
    """Seconds since 1970, as somebody says."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


def options(path: Path, **said: Any) -> StoreOptions:
    return StoreOptions(
        **{
            "clock": time.time,
            "path": str(path),
            "url": "",
            "timeout_s": 3600.0,
            "size_bytes": 64 * MIB,
            "session_bytes": 16 * MIB,
            "waiters": 64,
            **said,
        }
    )


def turn(asked: str, replied: str = "Yes.", after: Turn | str | None = None) -> Turn:
    parent = after.id if isinstance(after, Turn) else after
    at = time.time()
    return Turn(
        id=made_id(at, secrets.token_bytes(CHANCE_BYTES), parent),
        at=at,
        parent=parent,
        messages=(Message(Role.USER, (Text(text=asked),)),),
        reply=Message(Role.ASSISTANT, (Text(text=replied),)),
        model="chat",
        deployment="chat@box",
        dialect="openai-chat",
    )


def words(one: Turn) -> str:
    part = one.messages[0].parts[0]
    assert isinstance(part, Text)
    return part.text


class RedisServer:
    def __init__(self, program: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._program, self._folder = program, folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """Empty, as nothing is saved."""
        self._process = subprocess.Popen(
            [
                *(self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
                *("--dir", str(self._folder), *more),
            ],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(500):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as answers:
                    answers.sendall(b"PING\r\n")
                    if answers.recv(16).startswith((b"+PONG", b"-NOAUTH")):
                        return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("redis-server does not answer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
