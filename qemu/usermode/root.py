"""A folder that a program takes for the whole file system. It holds the program and what was put there, nothing else.

No ``/proc``, no ``/dev``, no ``/etc``, no ``/tmp``, no loader and no library, unless somebody puts them there. Root
enters it by chroot(1), anybody else by unshare(1) with a user namespace in which they are root.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from qemu.usermode.emulator import Emulator

PROGRAM: Final = "/moltbot-edge"


class Root:
    """*program* is linked into *folder*, with the emulator where there is one. *proc*: it always has a /proc."""

    def __init__(self, folder: Path, program: Path, emulator: Emulator | None = None, *, proc: bool = False) -> None:
        self.folder = folder
        self._proc = proc
        self._words = [PROGRAM]
        self.bring(program, PROGRAM)
        if emulator is not None:
            inside = f"/{emulator.path.name}"
            self.bring(emulator.path, inside)
            self._words = [inside, "-cpu", emulator.cpu, PROGRAM]

    def outside(self, inside: str) -> Path:
        return self.folder / PurePosixPath(inside).relative_to("/")

    def put(self, inside: str, content: str | bytes, mode: int = 0o644) -> str:
        """Write a file, its folders too. Returns *inside*."""
        path = self.outside(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # it may be linked to one of the machine's
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return inside

    def bring(self, path: Path, inside: str) -> str:
        """A file of the machine's, executable if it was. Returns *inside*."""
        to = self.outside(inside)
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path.resolve(), to)
        except OSError:  # another file system, or a file that is not ours to link
            shutil.copy(path, to)
        return inside

    def command(self, *arguments: str, proc: bool = False, read_only: bool = False) -> list[str]:
        """What runs the program in here. *proc*: with the machine's /proc. *read_only*: nothing can be written."""
        return self.enter([*self._words, *arguments], proc=proc, read_only=read_only)

    def enter(self, words: Sequence[str], *, proc: bool = False, read_only: bool = False) -> list[str]:
        proc = proc or self._proc
        chroot = [_tool("chroot"), str(self.folder), *words]
        if not proc and not read_only:
            if os.geteuid() == 0:
                return chroot
            return [*_as_root(), "--root", str(self.folder), "--wd", "/", *words]
        steps = ["set -e"]
        if proc:
            (self.folder / "proc").mkdir(exist_ok=True)
            steps.append(f'{_tool("mount")} --rbind /proc "$1/proc"')
        if read_only:
            steps.append(f'{_tool("mount")} --rbind "$1" "$1"; {_tool("mount")} -o remount,bind,ro "$1"')
        steps.append('exec "$0" "$@"')
        return [*_as_root(), "--mount", "/bin/sh", "-c", "; ".join(steps), *chroot]


def _as_root() -> list[str]:
    return [_tool("unshare"), *(() if os.geteuid() == 0 else ("--user", "--map-root-user"))]


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        raise FileNotFoundError(f"{name} is not on the PATH; it is of coreutils or util-linux")
    return found
