"""What the gateway knows of the one-file binary that it may run in. The binary itself is asked in tests/binary/."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from moltbot_edge import binary


def test_from_source_there_is_nothing_of_the_binary() -> None:
    assert binary.death_signal() is None
    assert binary.plugin_modules() is None
    assert binary.data("certifi/cacert.pem") is None
    binary.release_frozen_pages()


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_data_are_read_from_behind_the_executable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: int
) -> None:
    file = tmp_path / "moltbot-edge"
    file.write_bytes(Path(sys.executable).read_bytes())
    with zipfile.ZipFile(file, "a", packing) as archive:
        archive.writestr("certifi/cacert.pem", "certificates")
    monkeypatch.setattr(sys, "executable", str(file))
    assert binary.data("certifi/cacert.pem") == b"certificates"
    assert binary.data("certifi/none.pem") is None
    file.unlink()
    assert binary.data("certifi/cacert.pem") is None


def test_data_that_a_bad_copy_has_damaged_are_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "moltbot-edge"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("certifi/cacert.pem", "certificates" * 100)
    whole = file.read_bytes()
    begin = whole.index(b"cacert.pem") + len(b"cacert.pem")
    file.write_bytes(whole[:begin] + b"\xff" * 8 + whole[begin + 8 :])
    monkeypatch.setattr(sys, "executable", str(file))
    assert binary.data("certifi/cacert.pem") is None


def test_what_the_build_put_in_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = ModuleType("moltbot_edge._contents")
    contents.__dict__["PLUGIN_MODULES"] = ["json", "math"]
    monkeypatch.setitem(sys.modules, contents.__name__, contents)
    assert binary.plugin_modules() == ("json", "math")
