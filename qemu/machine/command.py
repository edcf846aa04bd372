"""What ``qemu/board`` and ``qemu/boards`` do: one trial, or all of them and a table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import bare, installed
from .kernel import NAMED
from .trial import Trial, judged
from .verdict import ROOT, Log, Verdict, figures_of

LIMIT_S: Final = 1200.0  # of one board, with everything to be brought
FILE: Final = ROOT / "dist/moltbot-edge-aarch64"

BOARD: Final = """\
The built file on an emulated 64-bit ARM board with 512 MB.

KERNEL is 4k (Debian 13 on a Cortex-A72), 16k (the same with the Pi 5's pages, on a Cortex-A76), 6.1 (Debian 12 on a
Cortex-A53), 5.10 (Debian 11 on a Cortex-A57), a kernel's .deb, or an image that has virtio built in. With it the board
has nothing but busybox and FILE; with --systemd it is a small Debian 13 that FILE is installed in. The log is below
.cache/qemu/; its last line is the verdict, and so is the exit status."""
BOARDS: Final = """\
The built file on every emulated board: one table on standard output, and exit status 0 if all went well."""

# Of the figures in a log -> a column of the table.
COLUMNS: Final = ("kernel", "processor", "page size", "first 200 after exec", "memory after requests")


@dataclass(frozen=True)
class Kind:
    """*what* is tried, as the verdict calls it, and how."""

    what: str
    run: Callable[[Trial, Log], str]

    def judged(self, trial: Trial, limit_s: float) -> tuple[Verdict, Path]:
        name = " ".join(
            [self.what, Path(trial.kernel).name, *filter(None, [trial.cpu, "engine" if trial.engine else ""])]
        )
        return judged(name, trial, self.run, limit_s)


BARE: Final = Kind("board", bare.run)
SYSTEMD: Final = Kind("systemd", installed.run)
# Not 5.10: its release is old enough to leave the mirrors any day.
EVERY: Final = (*((BARE, kernel) for kernel in ("4k", "16k", "6.1")), (SYSTEMD, "4k"))


def board(words: Sequence[str]) -> int:
    parser = _parser("board", "[options] KERNEL FILE | --systemd [options] FILE", BOARD)
    parser.add_argument("named", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--systemd", action="store_true", help="with systemd, on the kernel 4k unless another is named")
    parser.add_argument("--cpu", default="", help="another processor, by QEMU's name for it")
    parser.add_argument(
        "--engine", action="store_true", help="with --systemd: a llama-server and a model too (minutes)"
    )
    asked = parser.parse_intermixed_args(words)  # options may stand between them
    if asked.engine and not asked.systemd:
        parser.error("--engine goes with --systemd: without a C library there is no llama-server")
    match asked.named:
        case [kernel, file]:
            pass
        case [file] if asked.systemd:
            kernel = "4k"
        case [_]:
            parser.error(f"a kernel and a file, please: the kernel is {', '.join(NAMED)}, or a path")
        case _:
            parser.error("one kernel and one file, please")
    kind = SYSTEMD if asked.systemd else BARE
    verdict, _ = kind.judged(Trial(Path(file), kernel, asked.cpu, asked.fresh, asked.engine), asked.limit)
    return verdict.status


def boards(words: Sequence[str]) -> int:
    parser = _parser("boards", "[options] [FILE]", BOARDS)
    parser.add_argument("file", nargs="?", type=Path, default=FILE, help=f"{FILE.relative_to(ROOT)} unless named")
    asked = parser.parse_args(words)
    ended = [kind.judged(Trial(asked.file, kernel, fresh=asked.fresh), asked.limit) for kind, kernel in EVERY]
    print(table([(verdict, figures_of(log.read_text())) for verdict, log in ended]))
    return max(verdict.status for verdict, _ in ended)


def table(rows: Sequence[tuple[Verdict, dict[str, str]]]) -> str:
    lines = [["board", *COLUMNS, "verdict"], ["---"] * (len(COLUMNS) + 2)]
    for verdict, figures in rows:
        ending = "PASS" if verdict.passed else f"FAIL: {verdict.text}"
        lines.append([verdict.name, *(figures.get(column, "") for column in COLUMNS), ending])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _parser(name: str, usage: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"qemu/{name}",
        usage=f"qemu/{name} {usage}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fresh", action="store_true", help="look for newer packages of Debian")
    limit = "seconds for a board, with all that has to be brought (%(default).0f)"
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help=limit)
    return parser
