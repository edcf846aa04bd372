from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from qemu.machine import debian
from qemu.machine.debian import output, require, unpacked
from qemu.machine.image import _order
from qemu.machine.verdict import Failed, Log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log", io.StringIO(), "test", io.StringIO())


def test_what_is_missing_is_named_in_one_line_that_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(debian, "TOOLS", {"no-such-tool": "its-package", "nor-this": "another", "sh": "dash"})
    require("sh")
    with pytest.raises(Failed, match=r"tools are missing here: sudo apt install its-package another$"):
        require("no-such-tool", "sh", "nor-this")


def test_a_package_is_unpacked_as_far_as_it_is_wanted(tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg here, so no board can be made either")
    tree = tmp_path / "tree"
    for name in ("DEBIAN", "usr/bin", "usr/share/doc/x"):
        (tree / name).mkdir(parents=True)
        (tree / name).chmod(0o755)
    (tree / "DEBIAN/control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: m <m@x>\nDescription: d\n"
    )
    (tree / "usr/bin/x").write_text("#!/bin/sh\n")
    (tree / "usr/bin/x").chmod(0o755)
    (tree / "usr/bin/y").symlink_to("x")
    (tree / "usr/share/doc/x/copyright").touch()
    package = tmp_path / "x.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, package], check=True, capture_output=True)

    unpacked(package, tmp_path / "root", lambda name: not name.startswith("usr/share/doc/"))
    assert os.access(tmp_path / "root/usr/bin/x", os.X_OK)
    assert (tmp_path / "root/usr/bin/y").readlink() == Path("x")
    # A service that is not root has to get to its program.
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "root").rglob("*") if path.is_dir()} == {0o755}
    assert not (tmp_path / "root/usr/share/doc/x").exists()

    package.write_bytes(package.read_bytes()[:-40])
    with pytest.raises(Failed, match=r"x\.deb cannot be unpacked"):
        unpacked(package, tmp_path / "half", lambda name: True)


def test_the_package_with_the_links_into_usr_is_unpacked_first() -> None:
    packages = [Path("bash_5.2_arm64.deb"), Path("base-files_13_arm64.deb"), Path("apt_3_arm64.deb")]
    assert [package.name[:4] for package in sorted(packages, key=_order)] == ["base", "apt_", "bash"]


def test_a_command_that_fails_says_its_last_words_and_all_of_them_are_kept(log: Log) -> None:
    with pytest.raises(Failed, match=r"sh ended with 3: no room$"):
        output(["sh", "-c", "echo first; echo trouble >&2; echo no room >&2; exit 3"], log, 30)
    assert isinstance(log._file, io.StringIO)
    assert log._file.getvalue().endswith("| first\n| trouble\n| no room\n")
    with pytest.raises(Failed, match="took longer than 0 s"):
        output(["sleep", "60"], log, 0.1)
    assert output(["echo", "a", "b"], log, 30) == "a b\n"
