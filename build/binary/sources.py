"""The sources of everything compiled: Debian's signed source packages, patched, and pinned packages of the registry.

What is pinned is kept in the cache and never fetched twice, so that a build goes on when the pool has dropped a version
or the network is away. Once a day a build asks the pool for something newer; what it finds, it takes, says, and writes
into ``pins.toml``. A file whose hash is not the pinned one is not used.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from supply.package import Package, Unobtainable, fetch

from build.binary.pins import PINS, DebianPin, debian_pins, move
from build.binary.pool import Pool, PoolUnreachable, machine_pool, newer
from build.binary.store import TOLD_LINES, BuildFailed, Step, Store, sha256_of

ASK_EVERY_S: Final = 24 * 3600


@dataclass(frozen=True)
class Shelf:
    """The kept files of a store, and the two places where new ones come from."""

    store: Store
    pins: Path = PINS
    pool: Callable[[Path], Pool] = machine_pool
    registry: Callable[[Package, Path], Path] = fetch
    now: Callable[[], float] = field(default=time.time)

    def debian(self, name: str) -> tuple[DebianPin, Step]:
        """The pin in force, and its sources unpacked and patched. Raises `BuildFailed`."""
        with self._held():
            self._ask_once_a_day()
            pin = debian_pins(self.pins)[name]
            if not self._whole(pin):
                pin = self._bring(pin)

        def unpack(folder: Path) -> None:
            self._check(pin)
            done = subprocess.run(
                # apt has checked the signature above these hashes; the maintainer's own key may have expired since.
                [
                    "dpkg-source",
                    "--no-check",
                    "--no-copy",
                    "-x",
                    str(self._files(pin) / pin.description),
                    str(folder / "source"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            if done.returncode != 0:  # a full disk, or no tar, xz, patch
                said = "\n".join(f"  {line}" for line in done.stderr.splitlines()[-TOLD_LINES:])
                raise BuildFailed(f"{pin.title}'s sources could not be unpacked into {folder}:\n{said}")

        inputs = {"version": pin.version, "sha256": dict(pin.sha256)}
        return pin, self.store.step(
            f"{name}-source", inputs, unpack, does=f"unpacks and patches {pin.title} {pin.version}"
        )

    def package(self, package: Package) -> Path:
        """A pinned file of the registry. Raises `BuildFailed`."""
        file = self.store.root / "packages" / package.file
        with self._held():
            if not file.exists():
                incoming = file.with_name("incoming")
                shutil.rmtree(incoming, ignore_errors=True)
                incoming.mkdir(parents=True)
                try:
                    self.registry(package, incoming).rename(file)
                except Unobtainable as why:
                    raise BuildFailed(str(why)) from why
                finally:
                    shutil.rmtree(incoming, ignore_errors=True)
        if (found := sha256_of(file)) != package.sha256:
            raise BuildFailed(_mismatch(file, found, package.sha256))
        return file

    def sdist(self, package: Package) -> Step:
        """A source package unpacked; its files are in the step's folder, without the folder that all sit in."""

        def unpack(folder: Path) -> None:
            with tarfile.open(self.package(package)) as archive:
                archive.extractall(folder, filter="data")
            (top,) = folder.iterdir()
            for inner in top.iterdir():
                inner.rename(folder / inner.name)
            top.rmdir()

        return self.store.step(
            f"{package.name}-source", {"sha256": package.sha256}, unpack, does=f"unpacks {package.pinned}"
        )

    # Debian's files

    def _files(self, pin: DebianPin) -> Path:
        return self.store.root / "debian" / f"{pin.name}_{pin.version.replace(':', '%3a')}"

    def _whole(self, pin: DebianPin) -> bool:
        return all((self._files(pin) / name).is_file() for name in pin.sha256)

    def _check(self, pin: DebianPin) -> None:
        for name, wanted in pin.sha256.items():
            if (found := sha256_of(self._files(pin) / name)) != wanted:
                raise BuildFailed(_mismatch(self._files(pin) / name, found, wanted))

    def _bring(self, pin: DebianPin) -> DebianPin:
        """The pinned files, else, where the pool has dropped them, the newest: then with a new pin."""
        pool = self._pool()
        try:
            if not pool.refreshed:
                pool.refresh()
            try:
                self._fetch(pool, pin, pin.version)
            except PoolUnreachable:
                others = [version for version in pool.versions(pin.name) if version != pin.version]
                if (moved := self._moved(pool, pin, others)) is None:
                    raise
                return moved
        except PoolUnreachable as why:
            raise BuildFailed(
                f"{pin.title}'s sources, {pin.name} {pin.version}, could not be fetched from Debian's pool:\n{why}\n"
                "Is this machine online? Run the same command again then."
            ) from why
        self._check(pin)
        return pin

    def _fetch(self, pool: Pool, pin: DebianPin, version: str) -> Path:
        files = self._files(DebianPin(pin.name, version, pin.title, pin.licence, {}))
        incoming = files.with_name("incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        try:
            pool.fetch(pin.name, version, incoming)
            shutil.rmtree(files, ignore_errors=True)
            incoming.rename(files)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return files

    def _move(self, pool: Pool, pin: DebianPin, version: str) -> DebianPin:
        files = self._fetch(pool, pin, version)
        sha256 = {file.name: sha256_of(file) for file in sorted(files.iterdir())}
        move(pin, version, sha256, self.pins)
        self.store.say(
            f"{pin.title}: Debian has moved on from {pin.version} to {version}; taken, and pinned in {self.pins.name}"
        )
        return debian_pins(self.pins)[pin.name]

    def _ask_once_a_day(self) -> None:
        asked = self.store.root / "debian" / "asked"
        if asked.exists() and self.now() - asked.stat().st_mtime < ASK_EVERY_S:
            return
        asked.parent.mkdir(parents=True, exist_ok=True)
        pool = self._pool()
        try:
            pool.refresh()
        except PoolUnreachable as why:
            self.store.say(f"Debian's pool could not be asked for updates; the pinned sources are used.\n{why}")
        else:
            for pin in debian_pins(self.pins).values():
                self._moved(pool, pin, [version for version in pool.versions(pin.name) if newer(version, pin.version)])
        asked.touch()

    def _moved(self, pool: Pool, pin: DebianPin, versions: Sequence[str]) -> DebianPin | None:
        """*pin* with the first of *versions* whose files can be had: a mirror may have an index before the files."""
        for version in versions:
            try:
                return self._move(pool, pin, version)
            except PoolUnreachable:
                self.store.say(f"{pin.title}: Debian announces {version}, but the mirror does not have its files")
        return None

    def _pool(self) -> Pool:
        return self.pool(self.store.root / "debian" / "apt")

    @contextmanager
    def _held(self) -> Iterator[None]:
        """One asker at a time."""
        self.store.root.mkdir(parents=True, exist_ok=True)
        with (self.store.root / "sources.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _mismatch(file: Path, found: str, wanted: str) -> str:
    return (
        f"{file} is not the file that is pinned, and was not used:\n"
        f"  pinned sha256 {wanted}\n  found  sha256 {found}\n"
        "If the disk or a mirror has damaged it: remove it and run the same command again. "
        "If the pin is what is wrong: correct it in pins.toml."
    )
