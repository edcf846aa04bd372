"""The cross compiler: zig's C compiler for a target, behind commands that any configure script takes for its own.

What it compiles for is a `Target`: an architecture's first generation (ARMv8.0, x86-64 without AVX), with musl for the
static file, or with a glibc no newer than stated for what is to load other people's libraries. Not here: what is
compiled.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from build.binary.pins import package_pin
from build.binary.sources import Shelf
from build.binary.store import Step, Store

Architecture = Literal["x86_64", "aarch64"]
ARCHITECTURES: Final[tuple[Architecture, ...]] = ("x86_64", "aarch64")

# The middle of a day in 2025: what `__DATE__` and archives say, so that one source gives one file.
SOURCE_DATE_EPOCH: Final = "1750000000"

# zig turns on checks of undefined behaviour where nothing says otherwise, and makes an error of `__DATE__`.
QUIETED: Final = ("-fno-sanitize=undefined", "-Wno-date-time")

THREAD_STACK_BYTES: Final = 8 * 1024 * 1024  # musl takes it from the program's header; glibc's threads have as much


@dataclass(frozen=True)
class Target:
    """*libc* is ``musl``, or ``gnu.2.17`` for a glibc that need be no newer than that."""

    architecture: Architecture
    libc: str = "musl"

    @property
    def static(self) -> bool:
        return self.libc == "musl"

    @property
    def triple(self) -> str:
        """As zig spells it."""
        return f"{self.architecture}-linux-{self.libc}"

    @property
    def host(self) -> str:
        """As configure scripts spell it: without a version."""
        return f"{self.architecture}-linux-{self.libc.partition('.')[0]}"

    @property
    def compile_flags(self) -> tuple[str, ...]:
        """For every object. The static file has a fixed address: to relocate it would cost memory at each start.

        Nobody unwinds its stack either: the tables for that would be 1 MB of it. In a shared one a library's names are
        its own: another module may bring another copy of that library.
        """
        if self.static:
            form: tuple[str, ...] = ("-fno-pic", "-fno-pie", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables")
        else:
            form = ("-fPIC", "-fvisibility=hidden")
        # Zig keeps a register for the frame in every function, where nothing says otherwise.
        return ("-g0", *form, "-fomit-frame-pointer", "-ffunction-sections", "-fdata-sections")

    @property
    def size_flags(self) -> str:
        """For what is seldom run. zig makes -Os of an -Oz, with which clang's SQLite is an eighth smaller."""
        return "-Os -Xclang -Oz" if self.static else "-Os"

    @property
    def link_flags(self) -> tuple[str, ...]:
        """For the one static file."""
        if not self.static:
            return ("-s", "-Wl,--gc-sections")
        pages = ("-Wl,-z,max-page-size=65536",) if self.architecture == "aarch64" else ()
        return ("-static", "-no-pie", "-s", "-Wl,--gc-sections", f"-Wl,-z,stack-size={THREAD_STACK_BYTES}", *pages)


@dataclass(frozen=True)
class Tools:
    """Commands of a target: with *folder* on the PATH they are ``TRIPLE-cc`` and so on, and no result holds a path."""

    target: Target
    folder: Path
    version: str

    def command(self, tool: str) -> Path:
        """*tool* is ``cc``, ``c++``, ``ar`` or ``ranlib``."""
        return self.folder / self.name(tool)

    def name(self, tool: str) -> str:
        return f"{self.target.triple}-{tool}"

    @property
    def settings(self) -> Mapping[str, str]:
        """For the environment of a recipe, and for its key: which compiler, by which names."""
        return {
            "CC": self.name("cc"),
            "CXX": self.name("c++"),
            "AR": self.name("ar"),
            "RANLIB": self.name("ranlib"),
            "READELF": "readelf",
            "ZIG": self.version,
            "CC_OPTIONS": " ".join(QUIETED),
            "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH,
        }


def zig(store: Store) -> Step:
    """zig itself, out of its wheel for this machine; the program is ``ziglang/zig`` in the step's folder."""
    package = package_pin("zig", os.uname().machine)

    def unpack(folder: Path) -> None:
        with zipfile.ZipFile(Shelf(store).package(package)) as archive:
            archive.extractall(folder)
        (folder / "ziglang/zig").chmod(0o755)

    return store.step(
        "zig", {"file": package.file, "sha256": package.sha256}, unpack, does="unpacks the cross compiler"
    )


def tools(store: Store, target: Target, compiler: Step | None = None) -> Tools:
    compiler = compiler or zig(store)
    cache = store.root / "zig"
    scripts = {
        tool: "\n".join(
            (
                "#!/bin/sh",
                f'export ZIG_GLOBAL_CACHE_DIR="{cache}" ZIG_LOCAL_CACHE_DIR="{cache}"',
                f'exec "{compiler.folder}/ziglang/zig" {called}',
                "",
            )
        )
        for tool, called in {
            "cc": f'cc -target {target.triple} "$@" {" ".join(QUIETED)}',
            "c++": f'c++ -target {target.triple} "$@" {" ".join(QUIETED)}',
            "ar": 'ar "$@"',
            "ranlib": 'ranlib "$@"',
        }.items()
    }

    def write(folder: Path) -> None:
        for tool, script in scripts.items():
            command = folder / f"{target.triple}-{tool}"
            command.write_text(script)
            command.chmod(0o755)

    step = store.step(f"tools-{target.triple}", scripts, write, quiet=True)
    return Tools(target, step.folder, f"zig {package_pin('zig', os.uname().machine).version}")
