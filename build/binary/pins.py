"""``pins.toml``: the versions and hashes of what is built from, read, and moved on where Debian has.

Not here: where the files come from (`sources`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from supply.package import Package

from build.binary.store import BuildFailed

PINS: Final = Path(__file__).with_name("pins.toml")


@dataclass(frozen=True)
class DebianPin:
    """A Debian source package. *sha256* is by file name, and of every file."""

    name: str
    version: str
    title: str
    licence: str
    sha256: Mapping[str, str]

    @property
    def upstream_version(self) -> str:
        """What the project itself calls it: without Debian's epoch, repacking and revision."""
        bare = self.version.rpartition("-")[0].partition(":")[2] or self.version.rpartition("-")[0]
        return bare.rpartition("+really")[2] or bare

    @property
    def description(self) -> str:
        """The ``.dsc``: the file that names the others."""
        return next(name for name in self.sha256 if name.endswith(".dsc"))


def debian_pins(file: Path = PINS) -> Mapping[str, DebianPin]:
    return {name: DebianPin(name=name, **fields) for name, fields in _read(file)["debian"].items()}


def package_pin(table: str, name: str, file: Path = PINS) -> Package:
    """A package of the registry: *table* is ``sdist`` or ``zig``, or whichever else pins one."""
    try:
        fields = _read(file)[table][name]
    except KeyError:
        raise BuildFailed(f"{file} has no [{table}.{name}]") from None
    return Package(**{key: value for key, value in fields.items() if key != "licence"})


def move(pin: DebianPin, version: str, sha256: Mapping[str, str], file: Path = PINS) -> None:
    """Rewrite the version and the hashes of *pin* in *file*, and nothing else of it."""
    name = f'"{pin.name}"' if "." in pin.name else pin.name
    table, hashes = f"[debian.{name}]", f"[debian.{name}.sha256]"
    written: list[str] = []
    within = ""
    for line in file.read_text().splitlines():
        if line.startswith("["):
            within = line
            written.append(line)
            if within == hashes:
                written += [f'"{of}" = "{digest}"' for of, digest in sorted(sha256.items())]
        elif within == table and line.startswith("version ="):
            written.append(f'version = "{version}"')
        elif within != hashes or not line.startswith('"'):
            written.append(line)
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text("\n".join(written) + "\n")
    unfinished.replace(file)


def _read(file: Path) -> dict[str, dict[str, dict[str, Any]]]:
    return tomllib.loads(file.read_text())
