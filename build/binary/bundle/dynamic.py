"""What a dynamically linked ELF file is, and what it asks of the system that loads it. Files without PT_DYNAMIC too.

Read from the program headers alone, as the loader does: section headers may have been stripped.
Source: the ELF-64 object file format; the LSB's "Symbol Versioning" for the version tables.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAGIC: Final = b"\x7fELF"
MACHINES: Final = {62: "x86_64", 183: "aarch64"}

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NEEDED, DT_STRTAB, DT_SONAME, DT_RPATH, DT_RUNPATH = 1, 5, 14, 15, 29
DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF


class NotElf(Exception):
    """The bytes are no little-endian 64-bit ELF file, or end too soon."""


@dataclass(frozen=True)
class Elf:
    """*align_bytes* is the smallest alignment among the segments that are loaded; *versions* are such as GLIBC_2.17."""

    machine: str
    align_bytes: int
    needed: tuple[str, ...] = ()
    versions: frozenset[str] = frozenset()
    soname: str | None = None
    runpath: str | None = None


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size_bytes: int
    align_bytes: int


def is_elf(head: bytes) -> bool:
    return head.startswith(MAGIC)


def read(content: bytes) -> Elf:
    """Raises `NotElf`."""
    if not is_elf(content):
        raise NotElf("does not begin as an ELF file")
    try:
        return _read(content)
    except (struct.error, IndexError, ValueError) as error:
        raise NotElf(f"ends too soon or points past its end: {error}") from error


def newest(versions: frozenset[str], family: str = "GLIBC") -> tuple[int, ...]:
    """The highest of *family* among *versions*, such as (2, 17); empty where there is none."""
    of_family = (version.removeprefix(f"{family}_") for version in versions if version.startswith(f"{family}_"))
    numbered = [tuple(int(part) for part in version.split(".")) for version in of_family if version[:1].isdigit()]
    return max(numbered, default=())


def _read(content: bytes) -> Elf:
    bits, order = content[4], content[5]
    if (bits, order) != (2, 1):
        raise NotElf(f"is of class {bits} and byte order {order}; wanted: 64 bits, little-endian")
    (machine,) = struct.unpack_from("<H", content, 18)
    (table,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    segments = [_segment(content, table + size * index) for index in range(count)]
    loaded = [segment for segment in segments if segment.kind == PT_LOAD]
    align_bytes = min((segment.align_bytes for segment in loaded), default=0)
    name = MACHINES.get(machine, f"machine {machine}")
    dynamic = next((segment for segment in segments if segment.kind == PT_DYNAMIC), None)
    if dynamic is None:
        return Elf(name, align_bytes)

    tags = list(_tags(content, dynamic))
    first = dict(reversed(tags))  # of several, the first
    strings = _offset(loaded, first[DT_STRTAB]) if DT_STRTAB in first else 0

    def text(position: int) -> str:
        begin = strings + position
        return content[begin : content.index(b"\0", begin)].decode()

    def texts(wanted: int) -> tuple[str, ...]:
        return tuple(text(value) for tag, value in tags if tag == wanted)

    versions: set[str] = set()
    if DT_VERNEED in first:
        at = _offset(loaded, first[DT_VERNEED])
        versions = {text(position) for position in _version_names(content, at, first.get(DT_VERNEEDNUM, 0))}
    return Elf(
        machine=name,
        align_bytes=align_bytes,
        needed=texts(DT_NEEDED),
        versions=frozenset(versions),
        soname=next(iter(texts(DT_SONAME)), None),
        runpath=next(iter(texts(DT_RUNPATH) + texts(DT_RPATH)), None),
    )


def _segment(content: bytes, at: int) -> _Segment:
    kind, _, offset, address, _, size_bytes, _, align_bytes = struct.unpack_from("<IIQQQQQQ", content, at)
    return _Segment(kind, offset, address, size_bytes, align_bytes)


def _offset(loaded: list[_Segment], address: int) -> int:
    for segment in loaded:
        if segment.address <= address < segment.address + segment.size_bytes:
            return address - segment.address + segment.offset
    raise ValueError(f"address {address:#x} is in no loaded segment")


def _tags(content: bytes, dynamic: _Segment) -> Iterator[tuple[int, int]]:
    for at in range(dynamic.offset, dynamic.offset + dynamic.size_bytes, 16):
        tag, value = struct.unpack_from("<QQ", content, at)
        if tag == 0:
            return
        yield tag, value


def _version_names(content: bytes, at: int, files: int) -> Iterator[int]:
    """Where in the string table the names of the wanted versions are."""
    for _ in range(files):
        _, count, _, entry, following = struct.unpack_from("<HHIII", content, at)
        entry += at
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", content, entry)
            yield name
            entry += step
        at += following
