"""What a file was built for, from the first bytes of it. Source: elf(5).

Not a check of the file: that is the builder's, before it hands it out.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, NamedTuple

MACHINES: Final = {62: "x86_64", 183: "aarch64"}  # EM_X86_64, EM_AARCH64
PT_INTERP: Final = 3
_HEADER: Final = struct.Struct("<16x2xH4x8xQ14xHH")  # e_machine, e_phoff, e_phentsize, e_phnum
_SEGMENT: Final = struct.Struct("<I")  # p_type


class NotAProgram(Exception):
    """The message says what the file is instead, as far as its first bytes tell."""


class Program(NamedTuple):
    path: Path
    arch: str
    static: bool  # asks for no dynamic loader, so it needs no C library beside it


def program(path: Path) -> Program:
    """Raises `NotAProgram` for what is none of a 64-bit Linux, and `OSError`."""
    with path.open("rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF" or len(head) < 64:
            raise NotAProgram(f"{path} is no ELF file: it begins with {head[:8]!r}")
        machine, offset, size, count = _HEADER.unpack_from(head)
        if head[4] != 2 or head[5] != 1 or machine not in MACHINES:
            raise NotAProgram(f"{path} is for machine {machine}; wanted: {', '.join(MACHINES.values())}, 64-bit")
        file.seek(offset)
        table = file.read(size * count)
    kinds = [_SEGMENT.unpack_from(table, at)[0] for at in range(0, len(table), size)]
    return Program(path, MACHINES[machine], PT_INTERP not in kinds)
