"""The disk of a small Debian with systemd: its packages unpacked into an ext4 file system, and nothing run.

No maintainer script is needed for what the board does: systemd makes at its first boot what they would have made. No
root is needed either: to mke2fs under fakeroot every file is root's. Source: mke2fs(8), systemd-sysusers(8).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from supply.shelf import incoming, locked, put

from .debian import Suite, cache, output, unpacked
from .verdict import Log

SUITE: Final = "trixie"
# systemd loads some libraries only when they are there: without libseccomp2 it filters no system calls.
PACKAGES: Final = (
    *("systemd", "libseccomp2", "libkmod2", "base-files", "base-passwd", "libc-bin"),
    *("bash", "coreutils", "dash", "grep", "mount", "sed", "util-linux"),
)
SIZE: Final = "1G"  # most of it is a hole in the file
MKE2FS_S: Final = 300.0

_UNWANTED: Final = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/", "usr/lib/udev/hwdb.d/")


@dataclass(frozen=True)
class More:
    """What the disk has beyond the system. *key* stands for all that *lay* puts into the root that it is given."""

    title: str
    packages: tuple[str, ...]
    key: str
    lay: Callable[[Path], None]


def image(log: Log, more: More | None = None, fresh: bool = False) -> Path:
    """An ext4 file system to be booted from, and not to be written to."""
    title, names = ("systemd", PACKAGES) if more is None else (f"systemd-{more.title}", (*PACKAGES, *more.packages))
    packages = Suite(SUITE, cache(), log).closure(title, names, fresh)
    recipe = hashlib.sha256(Path(__file__).read_bytes() + (more.key if more is not None else "").encode())
    place = packages / f"image-{recipe.hexdigest()[:12]}.ext4"
    with locked(cache()):
        if not place.exists():
            log.say(f"making the disk of a Debian {SUITE}" + (f" with {more.title}" if more is not None else ""))
            with incoming(cache()) as folder:
                tree = folder / "root"
                for package in sorted(packages.glob("*.deb"), key=_order):
                    unpacked(package, tree, lambda name: not name.startswith(_UNWANTED))
                _finish(tree)
                if more is not None:
                    more.lay(tree)
                made = folder / "image.ext4"
                words = [*image_tools(), "-q", "-t", "ext4", "-L", "root", "-d", str(tree), str(made), SIZE]
                output(words, log, MKE2FS_S)
                for older in packages.glob("image-*.ext4"):
                    older.unlink()
                put(made, place)
    return place


def image_tools() -> tuple[str, ...]:
    """In the order in which one calls the other."""
    return ("mke2fs",) if os.geteuid() == 0 else ("fakeroot", "mke2fs")


def _order(package: Path) -> tuple[bool, str]:
    """base-files comes first: it has the links of /bin, /lib and /sbin into /usr."""
    return not package.name.startswith("base-files_"), package.name


def _finish(tree: Path) -> None:
    """What the scripts of base-passwd and base-files would have done."""
    for name in ("passwd", "group"):
        shutil.copyfile(tree / f"usr/share/base-passwd/{name}.master", tree / "etc" / name)
    for name in ("proc", "sys", "dev", "run", "root", "tmp", "var/tmp", "var/log", "opt", "usr/local/bin"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (tree / name).chmod(0o1777)
    (tree / "etc/machine-id").touch()
    (tree / "etc/hostname").write_text("board\n")
    # Logins on terminals that the board has not got.
    (tree / "etc/systemd/system/getty-static.service").symlink_to("/dev/null")
    (tree / "etc/fstab").write_text("LABEL=root / ext4 defaults 0 0\n")
