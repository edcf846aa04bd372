"""``scripts/build --with pyinstaller``: CPython's shared library and all bytecode, as one file and as a folder."""

from __future__ import annotations

from pathlib import Path

from build.binary.bundle import assembly
from build.binary.store import Store
from build.binary.toolchain import Architecture


def build(arch: Architecture, out: Path, store: Store | None = None) -> list[Path]:
    """Raises `BuildFailed`."""
    return assembly.build("pyinstaller", arch, out, store or Store())
