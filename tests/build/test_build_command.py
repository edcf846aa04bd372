"""`scripts/build` as somebody meets it who has never seen it. What it builds is tests/binary's question."""

from __future__ import annotations

from pathlib import Path

import pytest

from build.binary import __main__ as command


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        status = command.main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_its_help_tells_what_comes_out_how_long_it_takes_and_where_things_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MOLTBOT_EDGE_BUILD_CACHE", str(tmp_path / "kept"))
    status, out, _ = said(["--help"], capsys)
    assert status == 0
    for word in ("dist/", "SBOM", "static", "pyinstaller", "nuitka", "minutes", "Debian", "--arch aarch64"):
        assert word in out
    assert str(tmp_path / "kept") in out


def test_another_machine_than_the_two_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = said(["--arch", "armv7l"], capsys)
    assert status == 2
    assert "x86_64" in err
    assert "aarch64" in err


def test_on_a_machine_for_which_there_is_no_build_it_asks_for_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    status, _, err = said([], capsys)
    assert status == 2
    assert "this machine is riscv64" in err
    assert "--arch aarch64" in err


def test_a_place_that_cannot_be_written_is_told_with_where_things_go(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    occupied = tmp_path / "a file"
    occupied.touch()
    status, out, err = said(["--arch", "aarch64", "--out", str(occupied / "dist")], capsys)
    assert (status, out) == (1, "")
    assert "not built" in err
    assert str(occupied / "dist") in err
