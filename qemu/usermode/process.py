"""A command under a warden: it ends when asked to, with this process, or when this process is killed."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final

WARDEN: Final = Path(__file__).with_name("warden.py")

# What a command may have in place of a file; see `subprocess`.
Stream = IO[bytes] | int


class Process:
    """Runs from ``with`` to its end, which leaves nothing of it.

    *pid* is the command's own, whatever it becomes by exec. *stdin*, *stdout* and *stderr* as for `subprocess.Popen`;
    nothing is read here, so a pipe is for what fits into it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        folder: Path,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.DEVNULL,
        stderr: Stream = subprocess.STDOUT,
    ) -> None:
        lifeline, self._lifeline = os.pipe()
        self._report, report = os.pipe()
        self._read = b""
        try:
            self._warden = subprocess.Popen(
                [sys.executable, "-IS", WARDEN, str(lifeline), str(report), *command],
                cwd=folder,
                env=environment,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(lifeline, report),
                start_new_session=True,  # Ctrl-C is for the one who asked
            )
        finally:
            os.close(lifeline)
            os.close(report)
        told = self._told(60)
        assert told is not None, f"the warden of {command[0]} did not begin"
        self.pid = told
        self._status: int | None = None

    def status(self, within_s: float = 0) -> int | None:
        """Its exit status, below zero for a signal; None if it has not ended *within_s*."""
        if self._status is None:
            self._status = self._told(within_s)
        return self._status

    def signal(self, number: int) -> None:
        if self.status() is None:
            os.kill(self.pid, number)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._lifeline)
        self._warden.wait()
        self.status()
        os.close(self._report)

    def _told(self, within_s: float) -> int | None:
        """The number of the warden's next line."""
        until = time.monotonic() + within_s
        while b"\n" not in self._read:
            if not select.select([self._report], [], [], max(0, until - time.monotonic()))[0]:
                return None
            more = os.read(self._report, 4096)
            if not more:
                return None
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return int(line.split()[1])
