"""An ELF file written field by field, for tests of what reads one."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

NUMBERS: Final = {"x86_64": 62, "aarch64": 183}
LOAD, DYNAMIC, INTERP, STACK = 1, 2, 3, 0x6474E551
READ_EXECUTE, READ_WRITE = 5, 6
BASE: Final = 0x400000


def elf_file(
    arch: str,
    code: bytes = b"",
    *,
    functions: Mapping[str, tuple[int, int]] = {},  # only read
    marks: Mapping[int, str] = {},
    segments: Sequence[tuple[int, int, int, int]] | None = None,
) -> bytes:
    """*functions* are name -> (offset, size) in *code*, *marks* mapping symbols, *segments* (kind, flags, bytes in
    memory, alignment); without, those of a sound static executable."""
    if segments is None:
        segments = [(LOAD, READ_EXECUTE, len(code), 65536), (STACK, READ_WRITE, 8 << 20, 16)]
    names, symbols = b"\0", bytes(24)
    listed = [(name, 2, offset, size) for name, (offset, size) in functions.items()]
    listed += [(name, 0, offset, 0) for offset, name in marks.items()]
    for name, kind, offset, size in listed:
        symbols += struct.pack("<IBBHQQ", len(names), kind, 0, 1, BASE + offset, size)
        names += name.encode() + b"\0"
    section_names = b"\0.text\0.symtab\0.strtab\0.shstrtab\0"
    at = 64 + 56 * len(segments)
    sections, body = [bytes(64)], b""
    for section, kind, flags, address, data, link in (
        (b".text", 1, 6, BASE, code, 0),
        (b".symtab", 2, 0, 0, symbols, 3),
        (b".strtab", 3, 0, 0, names, 0),
        (b".shstrtab", 3, 0, 0, section_names, 0),
    ):
        offset = at + len(body)
        where = section_names.index(section + b"\0")
        sections.append(struct.pack("<IIQQQQIIQQ", where, kind, flags, address, offset, len(data), link, 0, 1, 0))
        body += data
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, NUMBERS[arch], 1, BASE, 64, at + len(body), 0, 64, 56, len(segments), 64, len(sections), 4
    )
    programs = b"".join(
        struct.pack("<IIQQQQQQ", kind, flags, 0, BASE, BASE, size, size, alignment)
        for kind, flags, size, alignment in segments
    )
    return header + programs + body + b"".join(sections)
