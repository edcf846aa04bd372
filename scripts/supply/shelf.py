"""A folder of parts in which each is whole or absent, whoever was interrupted and however many bring it at once."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from supply.package import Package, fetch


@contextmanager
def locked(shelf: Path) -> Iterator[None]:
    """One at a time. The lock goes with the process that holds it, so a killed one leaves none behind."""
    shelf.mkdir(parents=True, exist_ok=True)
    with (shelf / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run is bringing parts into this checkout: waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def kept(shelf: Path, name: str, package: Package, unpack: Callable[[Path, Path], Path]) -> Path:
    """*shelf*/*name*; where it is not there, what *unpack* (file, empty folder) makes of the package's file.

    Raises `Unobtainable`, and then nothing has changed.
    """
    place = shelf / name
    if place.exists():
        return place
    with locked(shelf):
        if not place.exists():  # the run that was waited for brought it
            with incoming(shelf) as folder:
                file = fetch(package, folder)
                (folder / "unpacked").mkdir()
                put(unpack(file, folder / "unpacked"), place)
    return place


@contextmanager
def incoming(shelf: Path) -> Iterator[Path]:
    """An empty folder beside the parts, on their disk and not in /tmp, which may be half of a board's memory.

    Under the lock only: what lies there is an interrupted run's.
    """
    folder = shelf / "incoming"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put(made: Path, place: Path) -> None:
    """Move a finished part to its place in one step, bytes on the disk first: a board's plug is pulled at any time."""
    for path in [made, *made.rglob("*")]:
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    place.parent.mkdir(parents=True, exist_ok=True)
    made.rename(place)
