"""What a run under QEMU leaves: a log that grows as it comes, and its last line, the verdict.

``PASS board 4k: ...`` or ``FAIL board 4k because ...``; the exit status says the same. Figures are lines of the log
that begin with ``= ``, so that a table can be made of logs. Two runs of one name at once get a log each.
"""

from __future__ import annotations

import fcntl
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

ROOT: Final = Path(__file__).resolve().parents[2]
LOGS: Final = ROOT / ".cache/qemu"

_VERDICT: Final = re.compile(r"(?P<word>PASS|FAIL) (?P<name>.+?)(?:: (?P<facts>.*)| because (?P<why>.*))?")
_FIGURE: Final = re.compile(r"= (?P<name>[^:]+): (?P<value>.*)")


class Failed(Exception):
    """A run did not go as it should; the message follows "because"."""


@dataclass(frozen=True)
class Verdict:
    name: str
    passed: bool
    text: str = ""

    def __str__(self) -> str:
        if self.passed:
            return f"PASS {self.name}" + (f": {self.text}" if self.text else "")
        return f"FAIL {self.name} because {self.text}"

    @property
    def status(self) -> int:
        return 0 if self.passed else 1


def verdict_of(log: str) -> Verdict | None:
    """The one on the last line of *log*; None if the run was interrupted before it had one."""
    lines = log.rstrip("\n").splitlines()
    if not lines or (found := _VERDICT.fullmatch(lines[-1])) is None:
        return None
    return Verdict(found["name"], found["word"] == "PASS", found["facts"] or found["why"] or "")


def figures_of(log: str) -> dict[str, str]:
    """Name -> value, as `Log.figure` wrote them."""
    matches = (_FIGURE.fullmatch(line) for line in log.splitlines())
    return {found["name"]: found["value"] for found in matches if found is not None}


class Log:
    """*said* goes to the terminal as well; what a guest prints goes to the file alone."""

    def __init__(self, path: Path, file: TextIO, name: str, said: TextIO) -> None:
        self.path = path
        self.name = name
        self._file = file
        self._said = said
        self._started = time.monotonic()

    def line(self, text: str) -> None:
        self._file.write(text.rstrip("\n") + "\n")
        self._file.flush()

    def heard(self, text: str) -> None:
        """What another program said, marked so that none of its lines is taken for one of ours."""
        self.line(f"| {text}")

    def say(self, text: str) -> None:
        self.line(f"# {time.monotonic() - self._started:6.1f} s  {text}")
        print(f"{time.monotonic() - self._started:6.1f} s  {text}", file=self._said, flush=True)

    def figure(self, name: str, value: object) -> None:
        self.line(f"= {name}: {value}")
        print(f"          {name}: {value}", file=self._said, flush=True)

    def figures(self, named: Mapping[str, object]) -> None:
        for name, value in named.items():
            self.figure(name, value)

    def end(self, verdict: Verdict) -> None:
        self.line(str(verdict))
        print(f"log: {self.path}\n{verdict}", file=self._said, flush=True)


@contextmanager
def opened(name: str, folder: Path = LOGS, said: TextIO = sys.stderr) -> Iterator[Log]:
    """An empty log called after *name*, with a number behind if another run is writing that one."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.+-]+", "-", name).strip("-")
    for number in range(1, 100):
        path = folder / (f"{stem}.log" if number == 1 else f"{stem}-{number}.log")
        with path.open("a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            file.truncate(0)
            yield Log(path, file, name, said)
            return
    raise Failed(f"{folder} has a hundred logs of {name} that are being written")
