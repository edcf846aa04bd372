"""An archive as the kernel unpacks it into memory at boot: cpio in its "newc" form, everything owned by root.

Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. Directories, files and symbolic links
only: device nodes come from devtmpfs.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

_MAGIC: Final = b"070701"
_TRAILER: Final = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    mode: int
    content: bytes


@dataclass
class Archive:
    """What is in it by its name, as in ``bin/busybox``; directories above a name come by themselves."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def file(self, name: str, content: bytes | Path, mode: int = 0o644) -> None:
        data = content.read_bytes() if isinstance(content, Path) else content
        self._put(name, Entry(stat.S_IFREG | mode, data))

    def link(self, name: str, target: str) -> None:
        self._put(name, Entry(stat.S_IFLNK | 0o777, target.encode()))

    def folder(self, name: str, mode: int = 0o755) -> None:
        self._put(name, Entry(stat.S_IFDIR | mode, b""))

    def _put(self, name: str, entry: Entry) -> None:
        for above in reversed(PurePosixPath(name).parents[:-1]):
            self.entries.setdefault(str(above), Entry(stat.S_IFDIR | 0o755, b""))
        self.entries[name] = entry

    def write(self, file: BinaryIO) -> None:
        """Not compressed: unpacking would be emulated."""
        for number, (name, entry) in enumerate(self.entries.items(), start=1):
            _write(file, number, name, entry)
        _write(file, 0, _TRAILER, Entry(0, b""))


def _write(file: BinaryIO, number: int, name: str, entry: Entry) -> None:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, uid, gid, links, mtime, size, device (2), the node's device (2), the name's length, a checksum
    numbers = (number, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, 0, 0, len(encoded), 0)
    head = _MAGIC + b"".join(b"%08X" % value for value in numbers) + encoded
    file.write(_padded(head))
    file.write(_padded(entry.content))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
