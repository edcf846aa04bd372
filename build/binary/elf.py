"""What a linked executable is, read from its own headers, and what is wrong with it.

Little-endian 64-bit ELF only. Which instructions are inside is `instructions`' question; this gives it the code.
Source: the System V ABI, "Object Files"; elf.h for the machines' numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MACHINES: Final = {62: "x86_64", 183: "aarch64"}
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_GNU_STACK = 1, 2, 3, 0x6474E551
PF_X, PF_W = 1, 2
SHT_SYMTAB, SHF_EXECINSTR = 2, 4
STT_FUNC: Final = 2

# A Pi 5 and other boards run kernels with pages of 16 KiB, some servers with 64.
LOAD_ALIGNMENT: Final = {"aarch64": 64 * 1024, "x86_64": 4 * 1024}
# What a thread gets where nobody asks for more: musl takes it from here. Deep recursion has to end in RecursionError.
STACK_BYTES: Final = 8 * 1024 * 1024


class NotElf(ValueError):
    """The bytes are no ELF file of this sort; the message says what they are."""


@dataclass(frozen=True)
class Segment:
    kind: int
    flags: int
    offset: int
    address: int
    file_bytes: int
    memory_bytes: int
    alignment: int


@dataclass(frozen=True)
class Section:
    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True)
class Symbol:
    name: str
    kind: int
    section: int
    address: int
    size: int


class Elf:
    """An ELF file's tables; *data* may go on after its end, as this executable's archive does."""

    def __init__(self, data: bytes) -> None:
        if data[:4] != b"\x7fELF" or data[4:6] != b"\x02\x01":
            raise NotElf(f"no little-endian 64-bit ELF file: it begins with {data[:6]!r}")
        self.data = data
        (
            _,
            machine,
            _,
            _,
            programs,
            sections,
            _,
            _,
            program_size,
            program_count,
            section_size,
            section_count,
            names,
        ) = struct.unpack_from("<HHIQQQIHHHHHH", data, 16)
        self.machine = MACHINES.get(machine, f"machine {machine}")
        self.segments = [self._segment(programs + i * program_size) for i in range(program_count)]
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, sections + i * section_size) for i in range(section_count)]
        self.sections = [
            Section(self._text(headers[names][4] + name), kind, flags, address, offset, size, link)
            for name, kind, flags, address, offset, size, link, *_ in headers
        ]

    def symbols(self) -> Iterator[Symbol]:
        for table in self.sections:
            if table.kind != SHT_SYMTAB:
                continue
            names = self.sections[table.link].offset
            for name, info, _, section, address, size in struct.iter_unpack(
                "<IBBHQQ", self.data[table.offset : table.offset + table.size]
            ):
                yield Symbol(self._text(names + name), info & 15, section, address, size)

    def code(self) -> Iterator[tuple[int, Section]]:
        """The sections that hold instructions, with their numbers."""
        for number, section in enumerate(self.sections):
            if section.flags & SHF_EXECINSTR and section.size:
                yield number, section

    def _segment(self, at: int) -> Segment:
        kind, flags, offset, address, _, file_bytes, memory_bytes, alignment = struct.unpack_from(
            "<IIQQQQQQ", self.data, at
        )
        return Segment(kind, flags, offset, address, file_bytes, memory_bytes, alignment)

    def _text(self, at: int) -> str:
        return self.data[at : self.data.index(b"\0", at)].decode("utf-8", "replace")


def complaints(elf: Elf, arch: str) -> list[str]:
    """What keeps the file from being a static executable for any Linux on *arch*. Nothing: it is one."""
    found = []
    kinds = [segment.kind for segment in elf.segments]
    if elf.machine != arch:
        found.append(f"it is for {elf.machine}, not for {arch}")
    if PT_INTERP in kinds:
        found.append("it asks for a dynamic loader (PT_INTERP)")
    if PT_DYNAMIC in kinds:
        found.append("it is dynamically linked (PT_DYNAMIC)")
    for segment in elf.segments:
        if segment.kind == PT_LOAD and segment.alignment < LOAD_ALIGNMENT[arch]:
            found.append(f"a segment is aligned to {segment.alignment} bytes; pages have up to {LOAD_ALIGNMENT[arch]}")
        if segment.kind == PT_LOAD and segment.flags & PF_X and segment.flags & PF_W:
            found.append("a segment is writable and executable")
    stacks = [segment for segment in elf.segments if segment.kind == PT_GNU_STACK]
    if not stacks or stacks[0].memory_bytes < STACK_BYTES:
        found.append(
            f"threads get a stack of {stacks[0].memory_bytes if stacks else 0} bytes, and {STACK_BYTES} are needed"
        )
    elif stacks[0].flags & PF_X:
        found.append("the stack is executable")
    return found
