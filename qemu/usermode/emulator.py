"""The user-mode QEMU of this machine, and the kernel's own way to it (binfmt_misc).

A program is started with its emulator named, which needs no privilege and leaves no doubt about the CPU. What that
program starts in its turn goes through the kernel, which must know the emulator by itself: `registered`, `register`.
Sources: qemu-aarch64(1), Documentation/admin-guide/binfmt-misc.rst of the kernel.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from qemu.usermode.program import NotAProgram, program

# The boards: Pi 3 and Zero 2; Pi 4; Pi 5; and all that QEMU can do, so that newer instructions get their turn.
CPUS: Final = {"aarch64": ("cortex-a53", "cortex-a72", "cortex-a76", "max"), "x86_64": ("qemu64", "max")}
NATIVE: Final = "native"  # in place of a CPU: without an emulator
BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")

# The first 20 bytes of an ELF file: class, byte order, version; any ABI; executable or shared object; the machine.
_MAGIC: Final = {
    "aarch64": r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
    "x86_64": r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00",
}
_MASK: Final = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
_FLAGS: Final = "OCF"  # F: the interpreter is opened now, so a root of its own needs none inside


class NotHere(Exception):
    """What is missing on this machine, and the command that brings it."""


class Emulator(NamedTuple):
    """*path* is a static program, so that a root which holds nothing else can run it."""

    path: Path
    cpu: str


def emulator(arch: str, cpu: str) -> Emulator | None:
    """None for `NATIVE`. Raises `NotHere`."""
    if cpu == NATIVE:
        if arch != platform.machine():
            raise NotHere(f"this machine is {platform.machine()}, and cannot run {arch} natively; name a CPU")
        return None
    # Debian's qemu-user-static until 12, qemu-user from 13 on.
    for name in (f"qemu-{arch}-static", f"qemu-{arch}"):
        found = shutil.which(name)
        if found is not None and _is_static(Path(found)):
            path = Path(found).resolve()
            _must_know(path, cpu)
            return Emulator(path, cpu)
    raise NotHere(f"there is no static qemu-{arch}: sudo apt install qemu-user-static")


def registered(arch: str) -> bool:
    """Does the kernel of this machine run programs for *arch*, whatever starts them?"""
    if arch == platform.machine():
        return True
    entries = (entry.read_text() for entry in _entries() if entry.name not in ("register", "status"))
    return any(text.startswith("enabled") and f"qemu-{arch}" in text for text in entries)


def register(arch: str) -> None:
    """Tell the kernel, as qemu-user's own package does; it stays told. Nothing that is there is changed.

    Raises `NotHere` where that is not allowed, or not possible.
    """
    if registered(arch):
        return
    if arch not in _MAGIC:
        raise NotHere(f"how the kernel knows a program for {arch} is not written here")
    found = emulator(arch, "max")
    assert found is not None
    try:
        if not (BINFMT / "register").exists():
            subprocess.run(["mount", "-t", "binfmt_misc", "none", str(BINFMT)], check=True, capture_output=True)
        (BINFMT / "register").write_text(f":qemu-{arch}:M::{_MAGIC[arch]}:{_MASK}:{found.path}:{_FLAGS}")
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotHere(
            f"this machine's kernel does not run programs for {arch} and could not be told how ({error}): "
            "sudo apt install qemu-user-static binfmt-support"
        ) from error


def _entries() -> list[Path]:
    return list(BINFMT.iterdir()) if BINFMT.is_dir() else []


def _is_static(path: Path) -> bool:
    try:
        return program(path).static
    except NotAProgram:
        return False


def _must_know(path: Path, cpu: str) -> None:
    said = subprocess.run([path, "-cpu", "help"], capture_output=True, text=True, check=False).stdout
    # `x86 qemu64  QEMU Virtual CPU...` in one, `  cortex-a53` in the other
    known = [word for line in said.splitlines()[1:] for word in line.removeprefix("x86 ").split()[:1]]
    if cpu not in known:
        raise NotHere(f"{path.name} knows no CPU {cpu!r}; it knows {', '.join(known)}")
