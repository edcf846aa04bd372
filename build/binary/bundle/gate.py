"""The check that a bundle passes before it leaves: nothing of the machine that built it, nothing that a target lacks.

Every ELF file is for the target's machine; on aarch64 its segments suit pages of 64 KiB, as kernels for the Pi 5 and
some distributions have 16 or 64; no symbol is younger than the bound on glibc; every library that is named is either in
the bundle or in `SYSTEM`; nothing has a search path of its own. A bundle with a file of the wrong machine may well run:
a first trial's did, with two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from build.binary.bundle import dynamic

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
PAGE_BYTES: Final = {"aarch64": 0x10000, "x86_64": 0x1000}


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
    elves: dict[str, dynamic.Elf] = {}
    for name, content in sorted(files.items()):
        if dynamic.is_elf(content):
            try:
                elves[name] = dynamic.read(content)
            except dynamic.NotElf as error:
                faults.append(f"{name}: {error}")
    provided = {name.rpartition("/")[2] for name in elves} | {elf.soname for elf in elves.values() if elf.soname}
    for name, elf in elves.items():
        faults += [f"{name}: {fault}" for fault in _faults(elf, arch, glibc, provided)]
    if not elves:
        faults.append("there is no ELF file in it")
    if faults:
        raise Refused("\n".join(faults))
    asked = {name: dynamic.newest(elf.versions) for name, elf in elves.items()}
    youngest = max(asked, key=lambda name: asked[name])
    outside = {library for elf in elves.values() for library in elf.needed} - provided
    return Passed(len(elves), asked[youngest], youngest, tuple(sorted(outside)))


def _faults(elf: dynamic.Elf, arch: str, glibc: tuple[int, int], provided: set[str]) -> list[str]:
    faults = []
    if elf.machine != arch:
        faults.append(f"is for {elf.machine}; wanted: {arch}")
    if elf.align_bytes < PAGE_BYTES[arch]:
        faults.append(f"has a segment aligned to {elf.align_bytes:#x}; wanted: {PAGE_BYTES[arch]:#x} at least")
    if (asks := dynamic.newest(elf.versions)) > glibc:
        faults.append("asks for glibc {}; wanted: {}.{} at most".format(".".join(map(str, asks)), *glibc))
    faults += [
        f"needs {name}, which is neither in the bundle nor one of the system's"
        for name in elf.needed
        if name not in provided | SYSTEM
    ]
    if elf.runpath is not None:
        faults.append(f"looks for libraries in {elf.runpath}")
    return faults
