"""Which processes live, as ``/proc`` tells; and a parent of our own that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import moltbot_edge

ROOT = Path(moltbot_edge.__file__).parents[1]


UNTIL_S = 30  # fails instead of hanging


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(UNTIL_S):
        while not condition():  # noqa: ASYNC110  # another process changes it: nobody here could set an event
            await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    """A zombie does not: it only waits to be counted by whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def processes_with(*words: str) -> list[int]:
    """Every living process that was started with *words* side by side."""
    wanted = b"\0%s\0" % "\0".join(words).encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in b"\0%s\0" % (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
    return found


def oom_score_adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@contextlib.contextmanager
def killed_at_the_end(source: str, *arguments: str | Path) -> Iterator[IO[bytes]]:
    """Another Python that runs *source*; what it prints. At the end it gets SIGKILL, and no chance to tidy up."""
    command: Sequence[str | Path] = [sys.executable, "-c", source, *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()
