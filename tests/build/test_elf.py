"""What is wrong with a file that is to run anywhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from elf_file import DYNAMIC, INTERP, LOAD, READ_EXECUTE, READ_WRITE, STACK, elf_file

from build.binary.elf import Elf, NotElf, complaints

STACK_OF_8_MIB = (STACK, READ_WRITE, 8 << 20, 16)


@pytest.mark.parametrize("arch", ["aarch64", "x86_64"])
def test_a_static_file_for_the_machine_is_fine(arch: str) -> None:
    assert complaints(Elf(elf_file(arch, b"\0" * 64)), arch) == []


def test_what_comes_after_the_elf_does_not_matter() -> None:
    assert complaints(Elf(elf_file("x86_64", b"\0" * 64) + b"PK\3\4 an archive"), "x86_64") == []


def test_another_machines_file_is_refused() -> None:
    assert complaints(Elf(elf_file("x86_64")), "aarch64") == ["it is for x86_64, not for aarch64"]


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        ((INTERP, 4, 20, 1), "dynamic loader"),
        ((DYNAMIC, 6, 20, 8), "dynamically linked"),
        ((LOAD, READ_EXECUTE, 20, 4096), "aligned to 4096 bytes; pages have up to 65536"),
        ((LOAD, 7, 20, 65536), "writable and executable"),
    ],
)
def test_each_fault_is_told(segment: tuple[int, int, int, int], said: str) -> None:
    (told,) = complaints(Elf(elf_file("aarch64", segments=[segment, STACK_OF_8_MIB])), "aarch64")
    assert said in told


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        ([], "a stack of 0 bytes"),
        ([(STACK, READ_WRITE, 131072, 16)], "a stack of 131072 bytes, and 8388608 are needed"),
        ([(STACK, 7, 8 << 20, 16)], "executable"),
    ],
)
def test_threads_need_a_deep_stack_that_is_no_code(stack: list[tuple[int, int, int, int]], said: str) -> None:
    (told,) = complaints(Elf(elf_file("aarch64", segments=stack)), "aarch64")
    assert said in told


def test_a_pythons_own_file_is_dynamic_and_has_code() -> None:
    elf = Elf(Path(os.path.realpath(sys.executable)).read_bytes())
    told = complaints(elf, elf.machine)
    assert any("dynamic loader" in one for one in told)
    assert ".text" in {section.name for _, section in elf.code()}


def test_what_is_no_elf_file_is_said_so() -> None:
    with pytest.raises(NotElf, match="begins with b'PK"):
        Elf(b"PK\3\4 a zip file")
