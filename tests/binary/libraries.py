"""The C library of another architecture, for files that were built to find one: the oldest that serves (glibc 2.31).

Of Debian 11's packages, unpacked and nothing else: no script of theirs runs. What Debian 11 has, every Raspberry Pi OS,
Ubuntu and JetPack since 2020 has too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from build.binary.store import Store
from qemu.machine.debian import Suite, cache
from qemu.machine.verdict import opened

SUITE = "bullseye"
PACKAGES = ("libc6", "zlib1g")
ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}


def c_library(arch: str) -> list[tuple[Path, str]]:
    """Its loader and libraries, and where each has to be in a root."""
    with opened(f"c library {arch}", said=sys.stderr) as log:
        debs = sorted(Suite(SUITE, cache(), log, ARCHITECTURES[arch]).alone(*PACKAGES).glob("*.deb"))

    def unpack(folder: Path) -> None:
        for deb in debs:
            subprocess.run(["dpkg-deb", "--extract", deb, folder], check=True)

    step = Store().step(f"test-c-library-{arch}", {"packages": [deb.name for deb in debs]}, unpack, quiet=True)
    parts = (part for part in step.folder.glob("lib*/**/*") if part.is_file())
    return [(part, f"/{part.relative_to(step.folder)}") for part in parts]
