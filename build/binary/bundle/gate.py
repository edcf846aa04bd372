"""The check that a bundle passes before it leaves: nothing of the machine that built it, nothing that a target lacks.

Every ELF file is for the target's machine; its segments suit the largest pages of that machine's kernels; no symbol is
younger than the bound on glibc; every library that is named is either in the bundle or in `SYSTEM`; nothing has a
search path of its own. A bundle with a file of the wrong machine may well run: a first trial's did, with two.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from build.binary.bundle.dynamic import Wants, wants
from build.binary.elf import LOAD_ALIGNMENT, PT_LOAD, Elf, NotElf

ELF: Final = b"\x7fELF"

# glibc's own libraries, and zlib, which PyInstaller's bootloader links.
SYSTEM: Final = frozenset(
    {
        "ld-linux-aarch64.so.1",
        "ld-linux-x86-64.so.2",
        "libc.so.6",
        "libdl.so.2",
        "libm.so.6",
        "libpthread.so.0",
        "libresolv.so.2",
        "librt.so.1",
        "libutil.so.1",
        "libz.so.1",
    }
)


class Refused(Exception):
    """The text lists every fault, a line each."""


@dataclass(frozen=True)
class Passed:
    """What a bundle's ELF files ask for together: *glibc* such as (2, 17), *system* the libraries outside it."""

    files: int
    glibc: tuple[int, ...]
    youngest: str
    system: tuple[str, ...]

    def __str__(self) -> str:
        glibc = ".".join(map(str, self.glibc))
        return f"{self.files} ELF files, glibc {glibc} or later ({self.youngest}), with {', '.join(self.system)}"


def check(files: Mapping[str, bytes], arch: str, glibc: tuple[int, int]) -> Passed:
    """*files* are a bundle's, by their name in it; those that are no ELF files are passed over. Raises `Refused`."""
    faults: list[str] = []
    found: dict[str, tuple[Elf, Wants]] = {}
    for name, content in sorted(files.items()):
        if content.startswith(ELF):
            try:
                file = Elf(content)
                found[name] = file, wants(file)
            except (NotElf, struct.error) as error:
                faults.append(f"{name}: {error}")
    provided = {name.rpartition("/")[2] for name in found} | {
        asked.soname for _, asked in found.values() if asked.soname
    }
    for name, (file, asked) in found.items():
        faults += [f"{name}: {fault}" for fault in (*_of_file(file, arch), *_of_wants(asked, glibc, provided))]
    if not found:
        faults.append("there is no ELF file in it")
    if faults:
        raise Refused("\n".join(faults))
    youngest = max(found, key=lambda name: found[name][1].glibc)
    outside = {library for _, asked in found.values() for library in asked.needed} - provided
    return Passed(len(found), found[youngest][1].glibc, youngest, tuple(sorted(outside)))


def _of_file(file: Elf, arch: str) -> list[str]:
    faults = []
    if file.machine != arch:
        faults.append(f"is for {file.machine}; wanted: {arch}")
    aligned = min((segment.alignment for segment in file.segments if segment.kind == PT_LOAD), default=0)
    if aligned < LOAD_ALIGNMENT[arch]:
        faults.append(f"has a segment aligned to {aligned} bytes; pages have up to {LOAD_ALIGNMENT[arch]}")
    return faults


def _of_wants(asked: Wants, glibc: tuple[int, int], provided: set[str]) -> list[str]:
    faults = [
        f"needs {name}, which is neither in the bundle nor one of the system's"
        for name in asked.needed
        if name not in provided | SYSTEM
    ]
    if asked.glibc > glibc:
        faults.append("wants glibc {}; at most {}.{} is promised".format(".".join(map(str, asked.glibc)), *glibc))
    if asked.runpath is not None:
        faults.append(f"looks for libraries in {asked.runpath}")
    return faults
