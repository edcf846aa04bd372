from __future__ import annotations

import io
import lzma
from collections.abc import Mapping
from pathlib import Path

import pytest

from qemu.machine.debian import exact_kernel
from qemu.machine.kernel import Kernel, kernel, loading_order
from qemu.machine.verdict import Failed, Log


def module(depends: str) -> bytes:
    """As .modinfo has it among its other strings."""
    return b"\x7fELF...license=GPL\0depends=" + depends.encode() + b"\0intree=Y\0"


TREE: Mapping[str, bytes] = {
    "virtio_net": module("net_failover"),
    "net_failover": module("failover"),
    "failover": module(""),
    "ext4": module("jbd2,mbcache,failover"),
    "jbd2": module(""),
    "mbcache": module(""),
}


def test_what_a_module_needs_is_loaded_before_it_and_once() -> None:
    order = [name for name, _ in loading_order(["virtio_net", "ext4"], TREE.get)]
    assert order == ["failover", "net_failover", "virtio_net", "jbd2", "mbcache", "ext4"]


def test_what_a_kernel_has_built_in_is_not_loaded() -> None:
    assert loading_order(["virtio_mmio", "jbd2"], TREE.get) == [("jbd2", TREE["jbd2"])]


def test_a_module_is_found_packed_or_not_and_whichever_dash_its_file_has(tmp_path: Path) -> None:
    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers/virtio_net.ko.xz").write_bytes(lzma.compress(b"packed"))
    (tmp_path / "crc32c-generic.ko").write_bytes(b"plain")
    found = Kernel(tmp_path / "vmlinuz", tmp_path)
    assert found.module("virtio_net") == b"packed"
    assert found.module("crc32c_generic") == b"plain"
    assert found.module("ext4") is None


def test_a_meta_package_names_the_one_kernel_that_it_stands_for() -> None:
    control = "Package: linux-image-arm64\nDepends: linux-image-6.12.9+deb13-arm64 (= 6.12.9-1)\nDescription: Linux\n"
    assert exact_kernel(control) == "linux-image-6.12.9+deb13-arm64"
    with pytest.raises(Failed, match="no kernel's package"):
        exact_kernel("Package: linux-image-arm64\n")


def test_a_path_is_an_image_and_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", io.StringIO(), "test", io.StringIO())
    (tmp_path / "Image").touch()
    assert kernel(str(tmp_path / "Image"), log) == Kernel(tmp_path / "Image")
    with pytest.raises(Failed, match="no kernel is called '64k': 4k, 16k"):
        kernel("64k", log)
