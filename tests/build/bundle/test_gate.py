"""What a bundle may not hold. The files are a real shared object of this machine, whole and with a byte changed."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import platform
import struct
from pathlib import Path

import pytest
from elf_file import elf_file

from build.binary.bundle import gate
from build.binary.bundle.dynamic import DT_NEEDED, DT_RUNPATH, DT_SONAME, wants
from build.binary.bundle.gate import Refused
from build.binary.bundle.strip import stripped
from build.binary.elf import PT_DYNAMIC, Elf, NotElf

ARCH = platform.machine()
OTHER = {"x86_64": "aarch64", "aarch64": "x86_64"}[ARCH]
SPEC = importlib.util.find_spec("msgspec._core")
assert SPEC is not None
assert SPEC.origin is not None
MODULE = Path(SPEC.origin).read_bytes()
ANY_GLIBC = (99, 0)


def with_tag(tag: int, instead_of: int = DT_NEEDED) -> bytes:
    """The module, its first entry of one sort made another's."""
    changed = bytearray(MODULE)
    (dynamic,) = (segment for segment in Elf(MODULE).segments if segment.kind == PT_DYNAMIC)
    for at in range(dynamic.offset, dynamic.offset + dynamic.file_bytes, 16):
        if struct.unpack_from("<Q", changed, at) == (instead_of,):
            struct.pack_into("<Q", changed, at, tag)
            return bytes(changed)
    raise AssertionError("it has no such entry")


def refusal(files: dict[str, bytes], arch: str = ARCH, glibc: tuple[int, int] = ANY_GLIBC) -> str:
    with pytest.raises(Refused) as refused:
        gate.check(files, arch, glibc)
    return str(refused.value)


def test_a_module_for_this_machine_passes_and_what_it_asks_of_a_system_is_told() -> None:
    passed = gate.check({"core.so": MODULE, "notes.txt": b"no program"}, ARCH, ANY_GLIBC)
    assert (passed.files, passed.youngest) == (1, "core.so")
    assert "libc.so.6" in passed.system
    assert (2, 0) < passed.glibc < ANY_GLIBC


def test_a_file_for_another_machine_is_refused() -> None:
    assert f"lib/core.so: is for {ARCH}; wanted: {OTHER}" in refusal({"lib/core.so": MODULE}, OTHER)


def test_a_symbol_that_is_too_young_is_refused() -> None:
    assert "at most 2.0 is promised" in refusal({"core.so": MODULE}, glibc=(2, 0))


def test_segments_that_do_not_suit_large_pages_are_refused() -> None:
    small = elf_file("aarch64", b"\0" * 64, segments=[(1, 5, 20, 4096)])
    assert "aligned to 4096 bytes; pages have up to 65536" in refusal({"core.so": small}, "aarch64")


def test_a_search_path_of_its_own_is_refused() -> None:
    assert "looks for libraries in lib" in refusal({"core.so": with_tag(DT_RUNPATH)})


def test_a_library_has_to_be_in_the_bundle_or_one_of_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    name = wants(Elf(MODULE)).needed[0]
    monkeypatch.setattr(gate, "SYSTEM", gate.SYSTEM - {name})
    assert f"core.so: needs {name}" in refusal({"core.so": MODULE})
    by_name = {"core.so": MODULE, f"lib/{name}": with_tag(DT_SONAME)}
    assert name not in gate.check(by_name, ARCH, ANY_GLIBC).system


def test_every_fault_is_told_at_once() -> None:
    told = refusal({"a.so": MODULE, "b.so": with_tag(DT_RUNPATH)}, OTHER, (2, 0)).splitlines()
    assert {line.partition(":")[0] for line in told} == {"a.so", "b.so"}
    assert len(told) >= 5


def test_a_bundle_without_a_program_is_none() -> None:
    assert refusal({"notes.txt": b"no program"}) == "there is no ELF file in it"


@pytest.mark.parametrize("bytes_left", [4, 20, 64, 400])
def test_a_file_that_was_cut_off_is_refused_and_named(bytes_left: int) -> None:
    assert refusal({"core.so": MODULE[:bytes_left]}).startswith("core.so: ")


def test_a_file_that_points_past_its_end_is_none() -> None:
    (dynamic,) = (segment for segment in Elf(MODULE).segments if segment.kind == PT_DYNAMIC)
    with pytest.raises(NotElf, match="past its end"):
        wants(Elf(stripped(MODULE)[: dynamic.offset + 24]))


def test_what_a_loader_reads_outlives_stripping() -> None:
    bare = stripped(MODULE + b"what a debugger reads" * 1000)
    assert len(bare) <= len(MODULE)
    assert Elf(bare).sections == []
    assert [Elf(bare).segments, wants(Elf(bare))] == [Elf(MODULE).segments, wants(Elf(MODULE))]


def test_a_stripped_module_still_works(tmp_path: Path) -> None:
    file = tmp_path / "_core.so"
    file.write_bytes(stripped(MODULE))
    loader = importlib.machinery.ExtensionFileLoader("msgspec_stripped._core", str(file))
    spec = importlib.util.spec_from_file_location("msgspec_stripped._core", file, loader=loader)
    assert spec is not None
    assert importlib.util.module_from_spec(spec) is not None
