"""Sources: pinned, kept, moved on with Debian, and never other than they should be. The pool is a small real one."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import debian_pool
import pytest
from supply.package import Package, Unobtainable

from build.binary import pool as pools
from build.binary.pins import PINS, debian_pins, move, package_pin
from build.binary.pool import KEYRING, Pool, PoolUnreachable, machine_pool
from build.binary.sources import ASK_EVERY_S, Shelf
from build.binary.store import BuildFailed, Store, sha256_of

PIN = """\
# A remark.
[debian.libpart]
version = "1.0"
title = "Part"
licence = "MIT"

[debian.libpart.sha256]
{hashes}

[zig.x86_64]
name = "ziglang"
"""


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[debian_pool.Archive]:
    (tmp_path / "pool").mkdir()
    with debian_pool.serve(tmp_path / "pool") as serving:
        serving.add("libpart", "1.0", "int part = 1;\n")
        yield serving


@pytest.fixture
def shelf(tmp_path: Path, archive: debian_pool.Archive) -> Shelf:
    pins = tmp_path / "pins.toml"
    hashes = "".join(f'"{name}" = "{digest}"\n' for name, digest in archive.sha256("libpart", "1.0").items())
    pins.write_text(PIN.format(hashes=hashes.rstrip()))
    store = Store(tmp_path / "cache", jobs=1, output=io.StringIO())
    return Shelf(store, pins, lambda folder: Pool(folder, [archive.line]))


def said(shelf: Shelf) -> list[str]:
    assert isinstance(shelf.store.output, io.StringIO)
    return [line for line in shelf.store.output.getvalue().splitlines() if line.startswith(("Part:", "Debian"))]


def content(shelf: Shelf) -> str:
    _, step = shelf.debian("libpart")
    return (step.folder / "source/part.c").read_text()


def a_day_passes(shelf: Shelf) -> None:
    asked = shelf.store.root / "debian/asked"
    then = asked.stat().st_mtime - ASK_EVERY_S - 1
    os.utime(asked, (then, then))


def test_the_pinned_sources_come_unpacked(shelf: Shelf) -> None:
    assert content(shelf) == "int part = 1;\n"
    assert debian_pins(shelf.pins)["libpart"].version == "1.0"
    assert said(shelf) == []


def test_a_build_with_everything_kept_asks_nobody(shelf: Shelf, archive: debian_pool.Archive) -> None:
    content(shelf)
    archive.asked.clear()
    assert content(shelf) == "int part = 1;\n"
    assert archive.asked == []


def test_a_newer_version_is_taken_said_and_pinned(shelf: Shelf, archive: debian_pool.Archive) -> None:
    content(shelf)
    archive.add("libpart", "1.0+deb13u1", "int part = 2;\n")
    assert content(shelf) == "int part = 1;\n"  # asked today already
    a_day_passes(shelf)
    assert content(shelf) == "int part = 2;\n"
    (line,) = said(shelf)
    assert line == "Part: Debian has moved on from 1.0 to 1.0+deb13u1; taken, and pinned in pins.toml"
    pin = debian_pins(shelf.pins)["libpart"]
    assert pin.version == "1.0+deb13u1"
    assert pin.sha256 == archive.sha256("libpart", "1.0+deb13u1")
    assert "# A remark." in shelf.pins.read_text()
    assert 'name = "ziglang"' in shelf.pins.read_text()


def test_a_version_that_the_pool_has_dropped_gives_way_to_the_newest(
    shelf: Shelf, archive: debian_pool.Archive
) -> None:
    archive.add("libpart", "1.1", "int part = 3;\n")
    archive.withdraw("libpart", "1.0")
    assert content(shelf) == "int part = 3;\n"
    assert debian_pins(shelf.pins)["libpart"].version == "1.1"


def test_a_version_that_is_announced_but_not_there_is_said_and_not_waited_for(
    shelf: Shelf, archive: debian_pool.Archive
) -> None:
    archive.add("libpart", "1.1", "int part = 3;\n")
    archive.lose_files("libpart", "1.1")
    assert content(shelf) == "int part = 1;\n"
    assert said(shelf) == ["Part: Debian announces 1.1, but the mirror does not have its files"]
    assert debian_pins(shelf.pins)["libpart"].version == "1.0"


def test_of_several_newer_versions_the_newest_that_can_be_had_is_taken(
    shelf: Shelf, archive: debian_pool.Archive
) -> None:
    for version in ("1.1", "1.9", "1.10"):
        archive.add("libpart", version, f'const char *part = "{version}";\n')
    archive.lose_files("libpart", "1.10")
    assert content(shelf) == 'const char *part = "1.9";\n'
    assert debian_pins(shelf.pins)["libpart"].version == "1.9"


def test_an_older_version_in_the_pool_is_not_an_update(shelf: Shelf, archive: debian_pool.Archive) -> None:
    archive.add("libpart", "0.9", "int part = 0;\n")
    assert content(shelf) == "int part = 1;\n"
    assert said(shelf) == []


def test_a_pin_that_does_not_fit_is_refused_with_what_to_do(shelf: Shelf) -> None:
    pin = debian_pins(shelf.pins)["libpart"]
    move(pin, "1.0", {**pin.sha256, "libpart_1.0.tar.xz": "0" * 64}, shelf.pins)
    with pytest.raises(BuildFailed, match=r"(?s)libpart_1\.0\.tar\.xz is not the file that is pinned.*remove it"):
        content(shelf)
    assert not list((shelf.store.root / "steps").glob("libpart*"))


def test_a_kept_file_that_was_damaged_is_refused(shelf: Shelf) -> None:
    content(shelf)
    (tarball,) = (shelf.store.root / "debian").glob("libpart_1.0/*.tar.xz")
    tarball.write_bytes(b"not what it was")
    for step in (shelf.store.root / "steps").glob("libpart*"):
        step.rename(tarball.parent.parent / "gone")
    with pytest.raises(BuildFailed, match="is not the file that is pinned"):
        content(shelf)


def test_sources_that_cannot_be_unpacked_fail_the_build_with_the_unpackers_words(shelf: Shelf) -> None:
    pin, step = shelf.debian("libpart")
    shutil.rmtree(step.folder)
    name = next(name for name in pin.sha256 if ".tar." in name)
    kept = shelf.store.root / "debian/libpart_1.0" / name
    kept.write_bytes(kept.read_bytes()[:-10])
    shelf.pins.write_text(shelf.pins.read_text().replace(pin.sha256[name], sha256_of(kept)))
    with pytest.raises(BuildFailed, match=r"(?s)Part's sources could not be unpacked into .*\n  dpkg-source: error: "):
        shelf.debian("libpart")


def test_without_a_network_a_build_goes_on_from_what_is_kept(shelf: Shelf) -> None:
    content(shelf)
    a_day_passes(shelf)
    offline = Shelf(shelf.store, shelf.pins, _unreachable)
    assert content(offline) == "int part = 1;\n"
    assert said(shelf)[0] == "Debian's pool could not be asked for updates; the pinned sources are used."


def test_without_a_network_and_with_nothing_kept_it_is_said_what_is_missing(shelf: Shelf) -> None:
    offline = Shelf(shelf.store, shelf.pins, _unreachable)
    with pytest.raises(BuildFailed, match=r"Part's sources, libpart 1\.0, could not be fetched(?s:.*)online"):
        content(offline)


def test_an_archive_that_is_not_signed_is_not_used(tmp_path: Path, archive: debian_pool.Archive) -> None:
    pool = Pool(tmp_path / "apt", [f"deb-src [signed-by={KEYRING}] {archive.url} ./"])
    with pytest.raises(PoolUnreachable, match="not signed"):
        pool.refresh()


def test_the_machines_own_mirror_is_used_with_debians_own_keys(tmp_path: Path) -> None:
    targets = (
        "http://mirror.example/debian/ bookworm \nhttp://mirror.example/debian/ bookworm-updates \n"
        "http://mirror.example/debian-security/ bookworm-security \nhttps://other.example/node nodistro \n"
    )
    assert pools._archives(targets) == ("http://mirror.example/debian", "http://mirror.example/debian-security")
    lines = machine_pool(tmp_path, {"MOLTBOT_EDGE_DEBIAN_MIRROR": "http://mirror.example/debian/"}).sources
    assert lines[0] == f"deb-src [signed-by={KEYRING}] http://mirror.example/debian trixie main"


def test_every_debian_pin_names_a_description_and_hashes() -> None:
    for pin in debian_pins(PINS).values():
        assert pin.description.endswith(".dsc")
        assert pin.licence
        assert all(len(digest) == 64 for digest in pin.sha256.values())


@pytest.mark.parametrize(
    ("version", "upstream"),
    [("3.13.5-2+deb13u5", "3.13.5"), ("1:1.3.dfsg+really1.3.1-1", "1.3.1"), ("3.5.7-1~deb13u2", "3.5.7")],
)
def test_debians_version_tells_the_projects_own(version: str, upstream: str) -> None:
    pin = next(iter(debian_pins(PINS).values()))
    assert pin.__class__(pin.name, version, pin.title, pin.licence, {}).upstream_version == upstream


def test_a_package_of_the_registry_is_fetched_once_and_checked_each_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", jobs=1, output=io.StringIO())
    package, asked = _sdist(tmp_path), []

    def registry(wanted: Package, folder: Path) -> Path:
        asked.append(wanted)
        (folder / wanted.file).write_bytes((tmp_path / wanted.file).read_bytes())
        return folder / wanted.file

    shelf = Shelf(store, registry=registry)
    step = shelf.sdist(package)
    assert (step.folder / "part.c").read_text() == "int part = 4;\n"
    shelf.package(package)
    assert asked == [package]
    (store.root / "packages" / package.file).write_bytes(b"damaged")
    with pytest.raises(BuildFailed, match="is not the file that is pinned"):
        shelf.package(package)


def test_a_package_that_cannot_be_had_fails_the_build_with_the_registrys_words(tmp_path: Path) -> None:
    def registry(wanted: Package, folder: Path) -> Path:
        raise Unobtainable("no such thing")

    with pytest.raises(BuildFailed, match="no such thing"):
        Shelf(Store(tmp_path, jobs=1), registry=registry).package(_sdist(tmp_path))


def test_a_pin_that_is_missing_is_named() -> None:
    with pytest.raises(BuildFailed, match=r"has no \[sdist\.nothing\]"):
        package_pin("sdist", "nothing")


def _unreachable(folder: Path) -> Pool:
    return Pool(folder / "offline", ["deb-src [trusted=yes] http://127.0.0.1:1 ./"])


def _sdist(folder: Path) -> Package:
    with tarfile.open(folder / "part-1.0.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("part-1.0/part.c")
        text = b"int part = 4;\n"
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    written = (folder / "part-1.0.tar.gz").read_bytes()
    return Package("part", "1.0", "part-1.0.tar.gz", len(written), hashlib.sha256(written).hexdigest())
