"""What an ELF file asks of the system that loads it: libraries, and versions of their symbols.

Read as the loader does, without the table of sections, which may have been stripped. Not here: the file's own headers
(`build.binary.elf`), and what is asked too much (`gate`).
Source: the System V ABI, "Dynamic Linking"; the LSB, "Symbol Versioning".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from build.binary.elf import PT_DYNAMIC, PT_LOAD, Elf, NotElf, Segment

DT_NEEDED, DT_STRTAB, DT_SONAME, DT_RPATH, DT_RUNPATH = 1, 5, 14, 15, 29
DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
GLIBC: Final = "GLIBC_"


@dataclass(frozen=True)
class Wants:
    """*versions* are such as GLIBC_2.17, *soname* is what others may want this file as, *runpath* where it looks."""

    needed: tuple[str, ...] = ()
    versions: frozenset[str] = frozenset()
    soname: str | None = None
    runpath: str | None = None

    @property
    def glibc(self) -> tuple[int, ...]:
        """The newest version that it wants symbols of; empty where it wants none."""
        numbers = (version.removeprefix(GLIBC) for version in self.versions if version.startswith(GLIBC))
        return max((tuple(map(int, number.split("."))) for number in numbers if number[:1].isdigit()), default=())


def wants(file: Elf) -> Wants:
    """Nothing, for a file that is not linked dynamically. Raises `NotElf` where it points past its own end."""
    loaded = [segment for segment in file.segments if segment.kind == PT_LOAD]
    dynamic = next((segment for segment in file.segments if segment.kind == PT_DYNAMIC), None)
    if dynamic is None:
        return Wants()
    try:
        return _wants(file.data, loaded, dynamic)
    except (struct.error, ValueError) as error:
        raise NotElf(f"points past its end: {error}") from error


def _wants(content: bytes, loaded: Sequence[Segment], dynamic: Segment) -> Wants:
    tags = list(_tags(content, dynamic))
    first = dict(reversed(tags))  # of several, the first
    strings = _offset(loaded, first[DT_STRTAB]) if DT_STRTAB in first else 0

    def text(position: int) -> str:
        begin = strings + position
        return content[begin : content.index(b"\0", begin)].decode("utf-8", "replace")

    def texts(*wanted: int) -> list[str]:
        return [text(value) for tag, value in tags if tag in wanted]

    versions: frozenset[str] = frozenset()
    if DT_VERNEED in first:
        at = _offset(loaded, first[DT_VERNEED])
        versions = frozenset(map(text, _version_names(content, at, first.get(DT_VERNEEDNUM, 0))))
    return Wants(
        needed=tuple(texts(DT_NEEDED)),
        versions=versions,
        soname=next(iter(texts(DT_SONAME)), None),
        runpath=next(iter(texts(DT_RUNPATH, DT_RPATH)), None),
    )


def _offset(loaded: Sequence[Segment], address: int) -> int:
    for segment in loaded:
        if segment.address <= address < segment.address + segment.file_bytes:
            return address - segment.address + segment.offset
    raise ValueError(f"address {address:#x} is in no loaded segment")


def _tags(content: bytes, dynamic: Segment) -> Iterator[tuple[int, int]]:
    for at in range(dynamic.offset, dynamic.offset + dynamic.file_bytes, 16):
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
