from __future__ import annotations

import io
import stat
from pathlib import Path

from qemu.machine.cpio import Archive


def entries(data: bytes) -> dict[str, tuple[int, bytes]]:
    """What the kernel would find: name -> mode and content. Source: buffer-format.rst, read once more."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        numbers = [int(data[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        _, mode, uid, gid, *_ = numbers
        size, name_size = numbers[6], numbers[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        assert data[at + 110 + name_size - 1] == 0
        begin = -(-(at + 110 + name_size) // 4) * 4
        at = -(-(begin + size) // 4) * 4
        if name == "TRAILER!!!":
            assert at == len(data)
            return found
        assert (uid, gid) == (0, 0)
        found[name] = (mode, data[begin : begin + size])


def test_the_kernel_finds_what_was_put_in_and_the_folders_above_it_first(tmp_path: Path) -> None:
    archive = Archive()
    (tmp_path / "program").write_bytes(b"\x7fELF and more")
    archive.file("usr/bin/program", tmp_path / "program", 0o755)
    archive.file("etc/odd", b"12345")
    archive.link("bin/sh", "busybox")
    archive.folder("tmp", 0o1777)
    file = io.BytesIO()
    archive.write(file)
    found = entries(file.getvalue())
    assert list(found) == ["usr", "usr/bin", "usr/bin/program", "etc", "etc/odd", "bin", "bin/sh", "tmp"]
    assert found["usr/bin/program"] == (stat.S_IFREG | 0o755, b"\x7fELF and more")
    assert found["etc/odd"] == (stat.S_IFREG | 0o644, b"12345")
    assert found["bin/sh"] == (stat.S_IFLNK | 0o777, b"busybox")
    assert found["tmp"] == (stat.S_IFDIR | 0o1777, b"")
