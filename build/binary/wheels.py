"""The third-party packages of the one list, unpacked side by side as an installation would have them, for a machine.

pip fetches them from where it is set up to, and by hash: what the list does not name exactly does not get in. Nothing
is run or compiled, so this machine need not be the target. The static executable takes only Python from here.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from build.binary.contents import ANY_MACHINE, Contents, Package
from build.binary.store import BuildFailed, Step, Store

PYTHON: Final = "3.13"
# Of the oldest glibc first: what a wheel may ask for, by the names that have been given to the same thing.
PLATFORMS: Final = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")
TOLD_LINES: Final = 8


def unpacked(store: Store, contents: Contents, arch: str) -> Step:
    """A step whose folder holds every package of *contents* for CPython 3.13 on *arch*."""
    return brought(store, "packages", contents.packages, arch)


def brought(store: Store, name: str, packages: Iterable[Package], arch: str) -> Step:
    """As `unpacked`, of any *packages*; the step is called *name* and the machine."""
    wanted = {package.requirement: _sha256(package, arch) for package in packages}

    def make(folder: Path) -> None:
        requirements = folder / "requirements.txt"
        requirements.write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in wanted.items()))
        downloaded = folder / "wheels"
        _download(requirements, downloaded, arch)
        for wheel in sorted(downloaded.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder / "packages")
            wheel.unlink()
        downloaded.rmdir()

    return store.step(f"{name}-{arch}", {"wheels": wanted, "python": PYTHON}, make, does="fetches the packages by hash")


def folder_of(step: Step) -> Path:
    return step.folder / "packages"


def _sha256(package: Package, arch: str) -> str:
    return package.sha256.get(arch) or package.sha256[ANY_MACHINE]


def _download(requirements: Path, folder: Path, arch: str) -> None:
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--quiet", "--disable-pip-version-check"]
    options += ["--python-version", PYTHON, "--implementation", "cp"]
    options += [option for platform in PLATFORMS for option in ("--platform", f"{platform}_{arch}")]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        *options,
        "--dest",
        str(folder),
        "--requirement",
        str(requirements),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        said = "\n".join(f"  {line}" for line in done.stderr.strip().splitlines()[-TOLD_LINES:])
        raise BuildFailed(
            f"pip did not fetch the packages of contents.toml. Is this machine online, and does each entry of the list "
            f"have the hash of a wheel for CPython {PYTHON} on {arch}? pip says:\n{said}"
        )
