"""What a linked executable is refused for. Making one is what scripts/build is for, and tests/binary tries it."""

from __future__ import annotations

from pathlib import Path

import pytest
from elf_file import elf_file

from build.binary import contents, static
from build.binary.static import Linked
from build.binary.store import BuildFailed

NOP, CASAL = bytes.fromhex("1f2003d5"), bytes.fromhex("41fce0c8")
FUNCTIONS = {"main": (0, 4), "aes_v8_encrypt": (4, 4)}


def check(shipped: bytes, tmp_path: Path, with_symbols: bytes | None = None) -> None:
    executable = tmp_path / "with-symbols"
    executable.write_bytes(with_symbols or shipped)
    static._check(shipped, Linked(executable, {"modules": []}, []), "aarch64", (tmp_path / "cache",))


def test_a_sound_file_passes(tmp_path: Path) -> None:
    check(elf_file("aarch64", NOP + CASAL, functions=FUNCTIONS), tmp_path)


def test_a_newer_instruction_in_a_function_that_nothing_dispatches_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="main has instructions that not every aarch64 processor has: lse"):
        check(elf_file("aarch64", CASAL + NOP, functions=FUNCTIONS), tmp_path)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    wrong = elf_file("x86_64", NOP + NOP, functions=FUNCTIONS) + f"{tmp_path}/cache/steps/source".encode()
    with pytest.raises(BuildFailed) as told:
        check(wrong, tmp_path, elf_file("aarch64", NOP + NOP, functions=FUNCTIONS))
    assert "it is for x86_64, not for aarch64" in str(told.value)
    assert f"a path into {tmp_path}/cache" in str(told.value)


def test_a_promise_that_neither_python_nor_c_keeps_ends_the_build() -> None:
    listed = contents.read()
    static._complete(["math", "os.path"], ["math"], listed)
    with pytest.raises(BuildFailed, match="math"):
        static._complete(["math"], ["cmath"], listed)
