"""What PyInstaller is to make, as its spec reads it: written by one Python, read by another.

Folders and files only. Which modules go in follows from the one list, which the spec asks itself, as bytecode has to be
made by the Python version that runs it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

PLATFORMS: Final = {"aarch64": "Linux-64bit-arm", "x86_64": "Linux-64bit-intel"}  # PyInstaller's folders of bootloaders

# What is made in the plan's folder: the one file, what it unpacks, the folder, its program, what went in.
ONEFILE, INSIDE, ONEDIR, PROGRAM, REPORT = "onefile", "inside", "onedir", "moltbot-edge", "bundle.json"


@dataclass(frozen=True)
class Native:
    """A file of the target's: *name* in the bundle, *path* here."""

    name: str
    path: str
    kind: Literal["BINARY", "EXTENSION"]


@dataclass(frozen=True)
class Plan:
    """*library*, *packages* and *product* are the folders that the one list's modules come from; *compiled* says that
    the product is among the *natives*. *python* is the target's shared library, *out* the folder for what is made."""

    arch: str
    library: str
    packages: str
    product: str
    python: str
    natives: tuple[Native, ...]
    compiled: bool
    out: str

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Plan:
        fields = json.loads(path.read_text())
        return cls(**{**fields, "natives": tuple(Native(**native) for native in fields["natives"])})
