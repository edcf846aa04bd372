"""What the suite is run against: the source's command, or one built file as one CPU.

A file without a dynamic loader lives in an empty root. One that needs a C library runs on this machine as it is, or, if
it is for another, in a root with that machine's C library and nothing else.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from binary.libraries import c_library

from qemu.usermode.emulator import CPUS, NATIVE, Emulator, emulator, register
from qemu.usermode.program import program
from qemu.usermode.root import Root

# An emulated start takes seconds where a native one takes tenths. Limits only: nothing waits that long in vain.
EMULATED_PATIENCE = 6


class Ground(Protocol):
    """Where a gateway lives: a root of its own, or a folder of this machine. *inside* begins with a slash."""

    folder: Path

    def outside(self, inside: str) -> Path: ...

    def put(self, inside: str, content: str | bytes, mode: int = 0o644) -> str:
        """Write a file; returns the path to it as the gateway has to be told."""
        ...

    def bring(self, path: Path, inside: str) -> str: ...

    def command(self, *arguments: str, proc: bool = False, read_only: bool = False) -> list[str]: ...


class Folder:
    """A folder of this machine, with all of the machine around it."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder = folder
        self._program = program

    def outside(self, inside: str) -> Path:
        return self.folder / PurePosixPath(inside).relative_to("/")

    def put(self, inside: str, content: str | bytes, mode: int = 0o644) -> str:
        path = self.outside(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return str(path)

    def bring(self, path: Path, inside: str) -> str:
        return str(path)

    def command(self, *arguments: str, proc: bool = False, read_only: bool = False) -> list[str]:
        assert not read_only, "all of this machine cannot be made read-only"
        return [str(self._program), *arguments]


@dataclass(frozen=True)
class Target:
    """*program* is what runs, *built* the file that was handed over: the same, or an archive with it (source: None)."""

    name: str
    arch: str
    program: Path
    settle: Callable[[Path], Ground]
    built: Path | None = None
    rooted: bool = False  # in a root of its own
    alone: bool = False  # and that root holds nothing but what the test puts there
    cpu: str = NATIVE
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def emulated(self) -> bool:
        return self.cpu != NATIVE

    @property
    def patience(self) -> int:
        return EMULATED_PATIENCE if self.emulated else 1

    def outdoors(self) -> Target:
        """The same program without a root of its own, for tests with parts that need a C library."""
        return replace(self, settle=lambda folder: Folder(folder, self.program), rooted=False, alone=False)

    def __str__(self) -> str:
        return self.name


def source() -> Target:
    command = Path(sys.executable).with_name("moltbot-edge")
    return Target("source", platform.machine(), command, lambda folder: Folder(folder, command))


def targets(built: Path, cpus: Sequence[str], unpacked: Path) -> list[Target]:
    """One for a file of this machine; for another machine's one for each of *cpus* (none: all that there are).

    What was packed into an archive is unpacked into *unpacked*.
    """
    about = program(_runnable(built, unpacked))
    native = Target(f"{built.name} natively", about.arch, about.path, lambda at: Folder(at, about.path), built)
    if about.arch == platform.machine():
        return [_alone(native, None) if about.static else native]
    emulators = [emulator(about.arch, cpu) for cpu in cpus or CPUS[about.arch]]
    return [
        (_alone if about.static else _with_c_library)(replace(native, name=f"{built.name} on {on.cpu}", cpu=on.cpu), on)
        for on in emulators
        if on is not None
    ]


def _alone(target: Target, on: Emulator | None) -> Target:
    return replace(target, settle=lambda at: Root(at, target.program, on), rooted=True, alone=True)


def _with_c_library(target: Target, on: Emulator) -> Target:
    """Such a file starts itself a second time, through the kernel: what it runs as then is said by QEMU_CPU."""

    def settle(folder: Path) -> Ground:
        register(target.arch)
        root = Root(folder, target.program, on, proc=True)
        for part, inside in c_library(target.arch):
            root.bring(part, inside)
        if (beside := target.program.with_name("_internal")).is_dir():
            for part in (path for path in beside.rglob("*") if path.is_file()):
                root.bring(part, f"/{part.relative_to(beside.parent)}")
        root.put("/etc/nsswitch.conf", "hosts: files dns\n")
        root.put("/etc/hosts", "127.0.0.1 localhost\n")
        root.outside("/tmp").mkdir()
        return root

    return replace(target, settle=settle, rooted=True, environment={"QEMU_CPU": on.cpu})


def _runnable(built: Path, unpacked: Path) -> Path:
    """The program in it: itself, or `moltbot-edge` in the folder that was packed."""
    if not built.name.endswith(".tar.gz"):
        return built
    unpacked.mkdir()
    subprocess.run(["tar", "--extract", "--gzip", "--file", built, "--directory", unpacked], check=True)
    (found,) = unpacked.glob("*/moltbot-edge*")
    return found
