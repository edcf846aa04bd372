"""What is to be tried on a board, and how it is run to a verdict whatever happens."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from .verdict import LOGS, Failed, Log, Verdict, opened

EM_AARCH64: Final = 183  # elf(5)


@dataclass(frozen=True)
class Trial:
    file: Path
    kernel: str = "4k"
    cpu: str = ""  # the kernel's own when empty
    fresh: bool = False  # look for newer packages
    engine: bool = False  # with a llama-server and a model; on the board with systemd


class Ended(Failed):
    """By a signal that ends a process."""

    def __init__(self, number: int) -> None:
        super().__init__(f"it was ended by {signal.Signals(number).name}")
        self.status = 128 + number  # as a shell has it


def judged(name: str, trial: Trial, run: Callable[[Trial, Log], str], limit_s: float) -> tuple[Verdict, Path]:
    """Run it: its verdict, and its log. A signal that ends a process leaves a verdict too, and then `SystemExit`."""
    with opened(name, LOGS) as log:
        log.line(f"file: {trial.file}")
        try:
            with _bounded(limit_s):
                check(trial.file)
                verdict = Verdict(name, True, run(trial, log))
        except Ended as error:
            log.end(Verdict(name, False, str(error)))
            raise SystemExit(error.status) from error
        except Failed as error:
            verdict = Verdict(name, False, str(error))
        except OSError as error:  # a full disk, a file that is not there
            verdict = Verdict(name, False, f"{type(error).__name__}: {error}")
        log.end(verdict)
        return verdict, log.path


def check(file: Path) -> None:
    """Raises `Failed` for what no 64-bit ARM board can run."""
    if not file.is_file():
        raise Failed(f"there is no file {file}; scripts/build --arch aarch64 makes dist/moltbot-edge-aarch64")
    with file.open("rb") as opened_file:
        head = opened_file.read(20)
    if head[:4] != b"\x7fELF" or int.from_bytes(head[18:20], "little") != EM_AARCH64:
        raise Failed(f"{file} is no program for 64-bit ARM; scripts/build --arch aarch64 makes one")


@contextmanager
def _bounded(limit_s: float) -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> NoReturn:
        if number == signal.SIGALRM:
            raise Failed(f"it took longer than {limit_s:.0f} s")
        raise Ended(number)

    numbers = (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
