"""A board with no operating system: a kernel, and in its memory the file, busybox and a configuration.

Its one core counts instructions. More cores, and threads that really run beside each other, are the other board's.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from . import report
from .caller import Caller, configuration
from .debian import require
from .emulator import Board, running
from .initramfs import busybox, initramfs
from .kernel import NETWORK, kernel
from .trial import Trial
from .upstream import upstream
from .verdict import Failed, Log

BOOT_S: Final = 300.0  # on two cores that others use as well; mostly it is ten
WORD_S: Final = 90.0
HOST_S: Final = 60.0


def run(trial: Trial, log: Log) -> str:
    """What the verdict says when all went well. Raises `Failed`."""
    require("apt-get", "dpkg-deb", "qemu-system-aarch64", "setpriv")
    found = kernel(trial.kernel, log, trial.fresh)
    cpu = trial.cpu or found.cpu
    archive = initramfs(found, NETWORK, busybox(log, trial.fresh), "bare.sh")
    with TemporaryDirectory(prefix="moltbot-board-") as folder, upstream() as upstream_port:
        caller = Caller()
        archive.file("moltbot-edge", trial.file, 0o755)
        archive.file("etc/moltbot/moltbot.yaml", configuration(caller.secret, upstream_port).encode())
        memory = Path(folder) / "initramfs"
        with memory.open("wb") as file:
            archive.write(file)
        with running(Board(found, cpu, memory, counted=True), log) as board:
            log.say(f"booting {found.image.name} on {cpu}")
            values = board.console.until_ready(BOOT_S, "power-on")
            log.figures(
                report.about(values, cpu) | report.counted_start(values) | report.memory(values, "after the start")
            )
            if found.page_kib is not None and values["page-kb"] != str(found.page_kib):
                raise Failed(f"its pages have {values['page-kb']} KiB and not {found.page_kib}")

            caller.asks(board.port, log, HOST_S)
            after = board.console.told("memory", WORD_S)
            log.figures(report.memory(after, "after requests") | report.available(after, values["available-before-kb"]))

            stopped = board.console.told("stop", WORD_S)
            if stopped.get("status") != "0":
                raise Failed(f"told to stop by SIGTERM it ended with {stopped.get('status')} and not 0")
            log.say("stopped by SIGTERM, with status 0")
            board.console.tell("off")
            board.ended()
    return f"/health answered after {report.instructions(values)}, {report.resident(after)} resident"
