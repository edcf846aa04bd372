"""Packages of Debian for another architecture, brought by this machine's own apt with a state of its own.

apt checks signatures and hashes as ever; nothing is installed here, and no maintainer script ever runs. The mirror is
the build's. What was brought stays in the build's cache, outside the checkout, and is used from then on without asking
the network. Source: apt.conf(5), apt-get(8).
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from supply.shelf import incoming, locked, put

from build.binary.pool import KEYRING, machine_archives
from build.binary.store import BuildFailed, cache_folder

from .verdict import Failed, Log

# Tool -> Debian's package with it.
TOOLS: Final[Mapping[str, str]] = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "qemu-system-aarch64": "qemu-system-arm",
    "mke2fs": "e2fsprogs",
    "fakeroot": "fakeroot",
    "setpriv": "util-linux",
}
APT_S: Final = 900.0  # a kernel is 100 MB

_PINNED: Final = re.compile(r"^Depends:.*?\b(linux-image-[0-9][^\s,]*) \(= ", re.MULTILINE)


def require(*tools: str) -> None:
    """Raises `Failed` with the line that installs what is missing."""
    # /usr/sbin is not on everybody's PATH.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    missing = [TOOLS[tool] for tool in tools if shutil.which(tool, path=path) is None]
    if "apt-get" in tools and not KEYRING.exists():
        missing.append("debian-archive-keyring")
    if missing:
        raise Failed(f"tools are missing here: sudo apt install {' '.join(missing)}")


def cache() -> Path:
    """Where downloads stay: beside the build's own steps."""
    return cache_folder() / "qemu"


def exact_kernel(control: str) -> str:
    """The package that a meta-package such as ``linux-image-arm64`` stands for, from its control fields."""
    if (found := _PINNED.search(control)) is None:
        raise Failed(f"no kernel's package is named in:\n{control}")
    return found[1]


@dataclass(frozen=True)
class Suite:
    """One suite of the archive as seen from *architecture*."""

    name: str
    place: Path
    log: Log
    architecture: str = "arm64"

    def kernel(self, meta: str, fresh: bool = False) -> Path:
        """The folder with the one ``.deb`` of *meta*'s kernel, and nothing that it depends on."""
        return self._brought(meta, (meta,), self._download_kernel, fresh)

    def alone(self, *names: str, fresh: bool = False) -> Path:
        """The folder with the packages *names*, and nothing that they depend on."""
        return self._brought("-".join(names), names, self._download, fresh)

    def closure(self, title: str, names: Sequence[str], fresh: bool = False) -> Path:
        """The folder with *names* and all that they need."""
        return self._brought(title, names, self._download_closure, fresh)

    def _brought(
        self, title: str, names: Sequence[str], download: Callable[[Sequence[str], Path], None], fresh: bool
    ) -> Path:
        key = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]
        place = self.place / f"{self.name}-{self.architecture}-{title}-{key}"
        with locked(self.place):
            if fresh or not place.exists():
                require("apt-get", "dpkg-deb")
                self.log.say(f"bringing {title} of Debian {self.name} for {self.architecture}")
                self._update()
                with incoming(self.place) as folder:
                    packages = folder / "packages"
                    packages.mkdir()
                    download(names, packages)
                    shutil.rmtree(place, ignore_errors=True)
                    put(packages, place)
        return place

    def _download_kernel(self, names: Sequence[str], folder: Path) -> None:
        (meta,) = names
        self._download([exact_kernel(self._apt("apt-cache", "show", "--no-all-versions", meta))], folder)

    def _download(self, names: Sequence[str], folder: Path) -> None:
        self._apt("apt-get", "download", *names, folder=folder)

    def _download_closure(self, names: Sequence[str], folder: Path) -> None:
        archives = folder / "archives"
        (archives / "partial").mkdir(parents=True)
        self._apt(
            "apt-get", "install", "--yes", "--download-only", *names, options=[f"Dir::Cache::archives={archives}"]
        )
        for package in archives.glob("*.deb"):
            package.rename(folder / package.name)
        shutil.rmtree(archives)

    def _update(self) -> None:
        state = self._state
        (state / "lists/partial").mkdir(parents=True, exist_ok=True)
        (state / "status").touch()  # a machine with nothing installed
        try:
            archive, _ = machine_archives()
        except BuildFailed as error:
            raise Failed(str(error)) from error
        line = f"deb [arch={self.architecture} signed-by={KEYRING}] {archive} {self.name} main\n"
        (state / "sources.list").write_text(line)
        self._apt("apt-get", "update")

    @property
    def _state(self) -> Path:
        return self.place / f"apt-{self.name}-{self.architecture}"

    def _apt(self, command: str, *words: str, options: Sequence[str] = (), folder: Path | None = None) -> str:
        state = self._state
        given = [
            f"APT::Architecture={self.architecture}",
            f"APT::Architectures={self.architecture}",
            "APT::Install-Recommends=false",
            "APT::Sandbox::User=root",  # the user _apt cannot see into a home's cache
            "Acquire::Languages=none",
            "Acquire::Check-Valid-Until=true",
            f"Dir::State={state}",
            f"Dir::State::status={state / 'status'}",
            f"Dir::Cache={state}",
            f"Dir::Etc::sourcelist={state / 'sources.list'}",
            "Dir::Etc::sourceparts=/dev/null",
            *options,
        ]
        line = [command, "--quiet=2", *(f"-o{option}" for option in given), *words]
        return output(line, self.log, APT_S, folder)


def unpacked(package: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """The files of *package* whose names are *wanted*, as in ``usr/bin/env``, below *folder*. Raises `Failed`."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                # Debian 12's Python 3.11.2 has no filters yet; apt has compared the hash in any case.
                archive.extraction_filter = getattr(tarfile, "tar_filter", None)
                for member in archive:
                    if wanted(member.name.removeprefix("./")):
                        archive.extract(member, folder, numeric_owner=True)
            while process.stdout.read(1 << 16):  # blocks of nothing that end an archive
                pass
        except tarfile.TarError as error:
            raise Failed(f"{package} cannot be unpacked: {error}") from error
        finally:
            process.stdout.close()  # where this side has stopped, the other does then
    if process.returncode != 0:
        raise Failed(f"{package} cannot be unpacked: dpkg-deb ended with {process.returncode}")


def output(line: Sequence[str | Path], log: Log, limit_s: float, folder: Path | None = None) -> str:
    """What a command prints on standard output; all of it is in the log. Raises `Failed` unless it ends well."""
    words = [str(word) for word in line]
    log.line(f"$ {shlex.join(words)}")
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{words[0]} took longer than {limit_s:.0f} s") from error
    for text in (*done.stdout.splitlines()[:200], *done.stderr.splitlines()):
        log.heard(text)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
        raise Failed(f"{words[0]} ended with {done.returncode}: {last}")
    return done.stdout
