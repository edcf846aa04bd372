"""Instructions past the first processors of a kind, found by function."""

from __future__ import annotations

from pathlib import Path

import pytest
from elf_file import elf_file

from build.binary import instructions
from build.binary.elf import Elf

WORDS = [
    line.split(" ", 2)
    for line in Path(__file__).with_name("a64.txt").read_text().splitlines()
    if not line.startswith("#")
]
NOP, CASAL = bytes.fromhex("1f2003d5"), bytes.fromhex("41fce0c8")
POPCNT, VZEROUPPER, RET, CX16 = b"\xf3\x48\x0f\xb8\xc0", b"\xc5\xf8\x77", b"\xc3", b"\xf0\x48\x0f\xc7\x0f"

AVX_IFMA = bytes.fromhex("c4e2f5b41e")


@pytest.mark.parametrize(("era", "word", "text"), WORDS, ids=[text for *_, text in WORDS])
def test_a64_words_are_told_apart_by_era(era: str, word: str, text: str) -> None:
    assert (instructions.feature_of_a64(int(word, 16)) is None) == (era == "base"), text


def test_a_newer_instruction_is_found_in_its_function() -> None:
    functions = {"old": (0, 8), "new": (8, 12)}
    found = instructions.newer(Elf(elf_file("aarch64", NOP * 3 + CASAL + NOP, functions=functions)))
    assert found == {"new": {"lse"}}


def test_data_between_code_are_not_read_as_instructions() -> None:
    elf = Elf(elf_file("aarch64", NOP + CASAL + NOP, functions={"f": (0, 12)}, marks={0: "$x", 4: "$d.1", 8: "$x.2"}))
    assert instructions.newer(elf) == {}


def test_on_x86_64_what_came_after_sse2_is_found() -> None:
    code = POPCNT + RET + VZEROUPPER + RET + CX16 + RET + b"\x0f\x0b"
    functions = {"counts": (0, 6), "clears": (6, 4), "swaps": (10, 6), "stops": (16, 2)}
    found = instructions.newer(Elf(elf_file("x86_64", code, functions=functions)))
    assert found == {"counts": {"popcnt"}, "clears": {"avx"}, "swaps": {"cx16"}}


def test_on_x86_64_what_cannot_be_read_is_not_taken_for_old() -> None:
    code = RET + AVX_IFMA + RET
    found = instructions.newer(Elf(elf_file("x86_64", code, functions={"old": (0, 1), "newest": (1, 6)})))
    assert found == {"newest": {instructions.UNREADABLE}}


def test_on_x86_64_a_function_without_a_size_goes_on_to_the_next_one() -> None:
    code = POPCNT + RET + RET + VZEROUPPER + RET
    found = instructions.newer(
        Elf(elf_file("x86_64", code, functions={"counts": (0, 0), "old": (6, 1), "last": (7, 0)}))
    )
    assert found == {"counts": {"popcnt"}, "last": {"avx"}}


def test_what_is_dispatched_is_listed_by_name_and_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "DISPATCHED", {"aarch64": {r"sha\d+_armv8": "asked for first"}})
    found = {"sha256_armv8": {"sha1, sha256"}, "main": {"lse", "crc32"}, "not_sha256_armv8": {"lse"}}
    assert instructions.undispatched(found, "aarch64") == {"main": ["crc32", "lse"], "not_sha256_armv8": ["lse"]}
