"""A board with a small Debian: the file is installed as a service of systemd, killed, and stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from . import report
from .caller import Caller, configuration
from .debian import require
from .emulator import Board, Running, running
from .engine import engine
from .image import image, image_tools
from .initramfs import GUEST, busybox, initramfs
from .kernel import DISK, NETWORK, kernel
from .trial import Trial
from .upstream import upstream
from .verdict import ROOT, Failed, Log

UNITS: Final = ROOT / "build/systemd"
UNIT: Final = UNITS / "moltbot-edge.service"
USERS: Final = UNITS / "moltbot-edge.sysusers"
BOOT_S: Final = 480.0  # systemd starts some sixty units, all emulated
WORD_S: Final = 240.0
HOST_S: Final = 90.0
ENGINE_S: Final = 900.0  # to load, and to say some words

# Without a getty on the console, which is the test's.
APPEND: Final = "systemd.unit=multi-user.target systemd.getty_auto=0 systemd.show_status=1"

# What the unit asks for, as /proc/PID/status shows it.
IN_FORCE: Final[Mapping[str, str]] = {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0" * 16, "CapBnd": "0" * 16}


def run(trial: Trial, log: Log) -> str:
    """What the verdict says when all went well. Raises `Failed`."""
    require("apt-get", "dpkg-deb", "qemu-system-aarch64", "setpriv", *image_tools())
    found = kernel(trial.kernel, log, trial.fresh)
    cpu = trial.cpu or found.cpu
    disk = image(log, engine() if trial.engine else None, trial.fresh)
    archive = initramfs(found, (*NETWORK, *DISK), busybox(log, trial.fresh), "switch.sh")
    with TemporaryDirectory(prefix="moltbot-board-") as folder, upstream() as upstream_port:
        caller = Caller()
        archive.file("payload/moltbot-edge", trial.file, 0o755)
        archive.file("payload/moltbot.yaml", configuration(caller.secret, upstream_port, engine=trial.engine).encode())
        for file in (UNIT, USERS, GUEST / "agent.sh", GUEST / "board-agent.service"):
            archive.file(f"payload/{file.name}", file)
        memory = Path(folder) / "initramfs"
        with memory.open("wb") as written:
            archive.write(written)
        with running(Board(found, cpu, memory, disk, APPEND), log) as board:
            log.say(f"booting {found.image.name} and systemd on {cpu}")
            booted = board.console.until_ready(BOOT_S, "power-on")
            log.figures(report.about(booted, cpu) | {"systemd": booted["systemd"]})
            start_s = _is_installed(board, caller, log, booted)
            if trial.engine:
                _has_an_engine(board, caller, log)
            _is_killed(board, caller, log)
            _is_stopped(board, log)
            board.console.tell("off")
            board.ended(WORD_S)
    return f"installed, served after {start_s:.1f} s, restarted after a kill, stopped"


def _is_installed(board: Running, caller: Caller, log: Log, booted: Mapping[str, str]) -> float:
    """Seconds from exec to the first 200."""
    log.say("installing the service")
    installed = board.console.told("install", WORD_S)
    log.figures(report.start(installed) | {"exposure": _exposure(installed["exposure"])})
    if installed["enabled"] != "enabled":
        raise Failed(f"the service is {installed['enabled']!r} and not enabled")
    caller.asks(board.port, log, HOST_S)
    looked = board.console.told("look", WORD_S)
    in_force(looked)
    log.figures(report.memory(looked, "after requests") | _of_the_service(looked))
    log.figures(report.available(looked, booted["available-before-kb"]))
    return report.start_s(installed)


def _has_an_engine(board: Running, caller: Caller, log: Log) -> None:
    log.say("asking the model on the board: its engine starts")
    said, took_s = caller.asks_the_engine(board.port, ENGINE_S)
    log.say(f"it said {said!r} within {took_s:.0f} s")
    engine = board.console.told("engine", WORD_S)
    wrong = {name: engine.get(name) for name, value in IN_FORCE.items() if engine.get(name) != value}
    if wrong:
        raise Failed(f"the unit's hardening is not in force for the engine: {wrong}")
    log.figures(report.memory(engine, "of the engine"))


def _is_killed(board: Running, caller: Caller, log: Log) -> None:
    before = board.console.told("look", WORD_S)
    killed = board.console.told("kill", WORD_S)
    answer_s = caller.asks_for_health(board.port, HOST_S)
    after = board.console.told("look", WORD_S)
    if after["NRestarts"] != "1" or after["ActiveState"] != "active" or after["MainPID"] == before["MainPID"]:
        raise Failed(f"after the kill systemd says {after}")
    if after["processes"] != "1":
        raise Failed(f"after the kill the service has {after['processes']} processes: an engine outlived its gateway")
    log.say(f"killed (SIGKILL), started again by systemd: 200 on /health in {answer_s:.2f} s")
    log.figures({"restarted": f"first 200 {report.start_s(killed):.1f} s after the second exec"})


def _is_stopped(board: Running, log: Log) -> None:
    stopped = board.console.told("stop", WORD_S)
    ending = [stopped.get(name) for name in ("ActiveState", "Result", "ExecMainStatus", "failed-units")]
    if ending != ["inactive", "success", "0", ""]:
        raise Failed(f"after systemctl stop systemd says {stopped}")
    log.say("stopped, and no unit has failed")


def in_force(values: Mapping[str, str]) -> None:
    """The hardening that the unit asks for is there, and it does not run as root."""
    wrong = {name: values.get(name) for name, value in IN_FORCE.items() if values.get(name) != value}
    if wrong or values.get("Uid") == "0":
        raise Failed(f"the unit's hardening is not in force: {wrong or 'it runs as root'}")
    if values.get("owner") != "moltbot:moltbot 750":
        raise Failed(f"/var/lib/moltbot/models is {values.get('owner')}")


def _exposure(said: str) -> str:
    """Of "Overall exposure level for UNIT: 1.9 OK" what follows the unit: 0 is none, 10 is all."""
    return f"{said.rpartition(': ')[2].partition(' ')[0]} of 10, says systemd-analyze security"


def _of_the_service(values: Mapping[str, str]) -> dict[str, str]:
    """The whole control group's memory: the page cache of the file counts in it."""
    peak = f", at most {int(values['MemoryPeak']) / 1e6:.1f} MB" if values["MemoryPeak"].isdigit() else ""
    return {"memory of the service": f"{int(values['MemoryCurrent']) / 1e6:.1f} MB{peak}"}
