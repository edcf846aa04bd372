"""The gateway's forms as targets of the benchmark: files and archives that scripts/build leaves."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from benchmark.parts import Cache, PartMissing
from benchmark.targets import forms, gateway


def archive_of(folder: Path, *programs: str) -> Path:
    tree = folder / "tree/moltbot-edge"
    tree.mkdir(parents=True)
    for program in programs:
        (tree / program).write_text("#!/bin/sh\n")
        (tree / program).chmod(0o755)
    archive = folder / "moltbot-edge-x86_64-pyinstaller-onedir.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tree, "moltbot-edge")
    return archive


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", lambda text: None)


def test_an_archive_is_unpacked_and_its_size_is_what_a_user_copies(tmp_path: Path, cache: Cache) -> None:
    archive = archive_of(tmp_path, "moltbot-edge", "another")
    part = gateway(archive, "onedir").bring(cache)
    assert part.program.name == "moltbot-edge"
    assert os.access(part.program, os.X_OK)
    assert part.size_bytes == archive.stat().st_size


def test_an_archive_without_the_program_says_so(tmp_path: Path, cache: Cache) -> None:
    with pytest.raises(PartMissing, match="holds 0 programs called moltbot-edge"):
        gateway(archive_of(tmp_path, "another"), "onedir").bring(cache)


def test_a_form_that_was_not_built_is_a_row_that_says_so(tmp_path: Path, cache: Cache) -> None:
    static = next(target for target in forms(tmp_path, "x86_64") if target.name == "static")
    with pytest.raises(PartMissing, match=r"no binary at .*moltbot-edge-x86_64"):
        static.bring(cache)
