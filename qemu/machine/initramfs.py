"""What a board has in memory when its kernel starts: busybox, the modules of its devices, and what is to be tried."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from .cpio import Archive
from .debian import Suite, cache, unpacked
from .emulator import GUEST_ADDRESS, HOST_IN_GUEST
from .kernel import Kernel, loading_order
from .verdict import Log

GUEST: Final = Path(__file__).parent / "guest"
# The applets that the scripts of `guest/` call.
APPLETS: Final = (
    *("sh", "cat", "cp", "grep", "insmod", "ip", "ln", "mkdir", "mount"),
    *("poweroff", "switch_root", "uname", "usleep", "wget"),
)


def busybox(log: Log, fresh: bool = False) -> Path:
    """Debian's static build for arm64."""
    place = Suite("trixie", cache(), log).alone("busybox-static", fresh=fresh)
    program = place / "usr/bin/busybox"
    if not program.exists():
        (package,) = place.glob("*.deb")
        unpacked(package, place, lambda name: name == "usr/bin/busybox")
    return program


def initramfs(kernel: Kernel, modules: Iterable[str], busybox: Path, init: str) -> Archive:
    """*init* is the script of `guest/` that the kernel starts; *modules* are loaded by it in this order."""
    archive = Archive()
    for name in ("dev", "proc", "sys", "system", "lib/modules"):
        archive.folder(name)
    archive.folder("tmp", 0o1777)
    archive.file("bin/busybox", busybox, 0o755)
    for applet in APPLETS:
        archive.link(f"bin/{applet}", "busybox")
    archive.file("init", GUEST / init, 0o755)
    archive.file("lib/board.sh", GUEST / "board.sh")
    archive.file("etc/address", f"{GUEST_ADDRESS}\n".encode())
    archive.file("etc/gateway", f"{HOST_IN_GUEST}\n".encode())
    for number, (name, content) in enumerate(loading_order(modules, kernel.module)):
        archive.file(f"lib/modules/{number:02}-{name}.ko", content)
    return archive
