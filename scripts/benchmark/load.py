"""The load generator's commands, as calls that return values. What it does is told in ``loadgen/``."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import measure

SAMPLE_S = 0.02  # between two looks at the target's memory
CONNECTIONS = 16
STREAMS = 32
GAP_S = 0.01  # the stub's, between two events of a stream


class LoadFailed(Exception):
    """The load generator itself could not do its work."""


@dataclass(frozen=True)
class Load:
    """What the callers saw. Latencies are of whole replies, from the first byte written."""

    requests: int
    failed: int
    first_failure: str
    seconds: float
    p50_us: float
    p99_us: float
    events: int
    whole_streams: int
    first_event_p50_us: float


@dataclass(frozen=True)
class Posts:
    answers: Mapping[str, int]  # status, or "failed" -> clients
    first_failure: str
    seconds: float


@dataclass(frozen=True)
class Loader:
    """Calls on one address, from *core*."""

    program: Path
    core: int
    url: str
    headers: Mapping[str, str]

    def whole(self, *, connections: int, seconds: float, least: int = 0) -> Load:
        """Replies that are not streamed, as fast as they come, for *seconds*; up to five times as long for *least*."""
        return Load(**self._load("-connections", connections, "-for", f"{seconds}s", "-least", least))

    def streams(self, *, seconds: float, messages: bool = False) -> Load:
        """STREAMS at a time; *messages*: in Anthropic's dialect.

        They begin evenly over one gap between events: callers do not know of each other, so their events do not come
        together either.
        """
        flags = ("-stream", "-connections", STREAMS, "-for", f"{seconds}s", "-spread", f"{GAP_S}s")
        return Load(**self._load(*flags, *(("-messages",) if messages else ())))

    def posts(self, *, clients: int, size_bytes: int, sample: Callable[[], None]) -> Posts:
        """*clients* at once; *sample* is called every SAMPLE_S while they wait."""
        command = self._command("posts", "-clients", clients, "-bytes", size_bytes)
        with (
            measure.pinned(self.core),
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running,
        ):
            try:
                while running.poll() is None:
                    sample()
                    time.sleep(SAMPLE_S)
            finally:
                running.kill()
            out, err = running.communicate()
        if running.returncode:
            raise LoadFailed(err.strip())
        return Posts(**json.loads(out))

    def _load(self, *flags: object) -> dict[str, Any]:
        with measure.pinned(self.core):
            done = subprocess.run(self._command("load", *flags), capture_output=True, text=True, check=False)
        if done.returncode:
            raise LoadFailed(done.stderr.strip())
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def _command(self, command: str, *flags: object) -> list[str]:
        lines = [word for name, value in self.headers.items() for word in ("-header", f"{name}: {value}")]
        return [str(self.program), command, "-url", self.url, *map(str, flags), *lines]
