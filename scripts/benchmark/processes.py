"""Child processes: started on one core with a log of their own, ended by their own process group and no other way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from . import measure

POLL_S = 0.001  # while something starts; a fast proxy is up in five milliseconds
END_S = 3.0  # from SIGTERM to SIGKILL


class NotStarted(Exception):
    """The message is the reason that the table gives."""


class Child:
    def __init__(
        self, command: Sequence[str | Path], core: int, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        # A session of its own: a Ctrl-C at the terminal reaches the benchmark, which ends its children in order.
        with measure.pinned(core), log.open("wb") as out:
            self.started = time.monotonic()
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=log.parent,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def last_line(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines()]
        return next((line[:200] for line in reversed(lines) if line), "its log is empty")

    def end(self) -> None:
        for number, patience_s in ((signal.SIGTERM, END_S), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)


def seconds_to_first_200(child: Child, port: int, path: str, limit_s: float) -> float:
    """From the child's start until GET *path* on loopback's *port* was answered 200."""
    answer = f"nothing listens on port {port}"
    while time.monotonic() < child.started + limit_s:
        if not child.alive:
            raise NotStarted(f"ended at its start: {child.last_line()}")
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            status = connection.getresponse().status
            if status == 200:
                return time.monotonic() - child.started
            answer = f"{path} answers {status}"
        except (OSError, HTTPException) as error:
            answer = str(error)
        finally:
            connection.close()
        time.sleep(POLL_S)
    raise NotStarted(f"not ready in {limit_s:.0f} s ({answer}): {child.last_line()}")


def free_port() -> int:
    """Free a moment ago; on a loopback of one's own nobody else takes it."""
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        port: int = any_socket.getsockname()[1]
        return port
