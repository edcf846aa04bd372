"""A kernel that a board boots: its image, and the modules without which it sees neither network nor disk.

Debian's arm64 kernels have virtio and ext4 as modules. Which a module needs first stands in the module itself
(".modinfo": ``depends=``), so no depmod is run. Source: kernel/module, and kmod's modinfo(8).
"""

from __future__ import annotations

import hashlib
import lzma
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from supply.shelf import incoming, locked, put

from .debian import Suite, cache, require, unpacked
from .verdict import Failed, Log

# What `virt` has; in the order in which they are wanted. A kernel may have some of them built in.
NETWORK: Final = ("virtio_mmio", "virtio_net")
DISK: Final = ("virtio_blk", "crc32c_generic", "ext4")

_DEPENDS: Final = re.compile(rb"\0depends=([^\0]*)\0")


@dataclass(frozen=True)
class Named:
    """A kernel that can be asked for by a short name, and the processor that it is tried on."""

    suite: str
    meta: str
    cpu: str
    page_kib: int


# A Pi 4 and a Pi 5 under Debian 13, whose kernel for the Pi 5 has large pages; a Pi 3 or Zero 2 W under Debian 12; the
# Jetson Nano's processor, with a kernel as old as JetPack 5's.
NAMED: Final[Mapping[str, Named]] = {
    "4k": Named("trixie", "linux-image-arm64", "cortex-a72", 4),
    "16k": Named("trixie", "linux-image-arm64-16k", "cortex-a76", 16),
    "6.1": Named("bookworm", "linux-image-arm64", "cortex-a53", 4),
    "5.10": Named("bullseye", "linux-image-arm64", "cortex-a57", 4),
}
OTHER_CPU: Final = "cortex-a72"


@dataclass(frozen=True)
class Kernel:
    """*cpu* and *page_kib* are those of a named one."""

    image: Path
    modules: Path | None = None  # the folder that holds them, at whatever depth
    cpu: str = OTHER_CPU
    page_kib: int | None = None

    def module(self, name: str) -> bytes | None:
        """Its ELF file, unpacked; None if this kernel has it built in, or not at all. Raises `Failed`."""
        if self.modules is None:
            return None
        # A file may have dashes where the name has underscores.
        pattern = f"{name.replace('_', '[-_]')}.ko*"
        for file in sorted(self.modules.rglob(pattern)):
            match file.suffix:
                case ".ko":
                    return file.read_bytes()
                case ".xz":
                    return lzma.decompress(file.read_bytes())
                case other:
                    raise Failed(f"modules are packed as {other} in this kernel, and only .xz can be unpacked here")
        return None


def kernel(name: str, log: Log, fresh: bool = False) -> Kernel:
    """*name* is a short one, a ``.deb`` of a kernel, or an image that has virtio built in. Raises `Failed`."""
    if (known := NAMED.get(name)) is not None:
        place = Suite(known.suite, cache(), log).kernel(known.meta, fresh)
        (package,) = place.glob("*.deb")
        return replace(_of_package(package, place / "unpacked"), cpu=known.cpu, page_kib=known.page_kib)
    path = Path(name)
    if not path.is_file():
        raise Failed(f"no kernel is called {name!r}: {', '.join(NAMED)}, or the path of a .deb or of an image")
    if path.suffix != ".deb":
        return Kernel(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _of_package(path, cache() / f"kernel-{digest[:12]}")


def loading_order(wanted: Iterable[str], module: Callable[[str], bytes | None]) -> list[tuple[str, bytes]]:
    """*wanted* with what they need before them, each once; without those that *module* has not got."""
    order: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in order or (content := module(name)) is None:
            return
        for needed in depends(content):
            add(needed)
        order[name] = content

    for name in wanted:
        add(name)
    return list(order.items())


def depends(module: bytes) -> list[str]:
    found = _DEPENDS.search(module)
    return [] if found is None else [name.decode() for name in found[1].split(b",") if name]


def _of_package(package: Path, place: Path) -> Kernel:
    """What a board needs of *package*, at *place*: a hundredth of its modules, unpacked."""
    with locked(place.parent):
        if not place.exists():
            require("dpkg-deb")
            with incoming(place.parent) as folder:
                unpacked(package, folder / "all", lambda name: name.startswith("boot/vmlinu") or ".ko" in name)
                images = sorted((folder / "all/boot").glob("vmlinu[xz]-*"))
                if not images:
                    raise Failed(f"{package.name} holds no kernel: there is no boot/vmlinuz-* in it")
                kept = folder / "kept"
                kept.mkdir()
                images[0].rename(kept / images[0].name)
                for name, content in loading_order((*NETWORK, *DISK), Kernel(images[0], folder / "all").module):
                    (kept / f"{name}.ko").write_bytes(content)
                put(kept, place)
    (image,) = place.glob("vmlinu*")
    return Kernel(image, place)
