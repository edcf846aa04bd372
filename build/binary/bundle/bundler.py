"""PyInstaller, able to make a bundle for another machine: from each machine's wheel comes its bootloader.

Without its collection of hooks: those find what modules import by name, and here a list says it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from build.binary import wheels
from build.binary.bundle.plan import PLATFORMS
from build.binary.contents import ANY_MACHINE, Package
from build.binary.sbom import Component
from build.binary.store import Step, Store
from build.binary.toolchain import ARCHITECTURES, Architecture

PYINSTALLER: Final = Package(
    name="pyinstaller",
    version="6.22.3",
    licence="GPL-2.0-or-later WITH Bootloader-exception",
    module="PyInstaller",
    sha256={
        "x86_64": "451a4ae14b719365bf1a2f0a99dae7b3463060061c3a394c70d5264cfb439528",
        "aarch64": "312da84b4b31ab9750066a823734c11b7c68757fdd67c9f038bf19c330a954e4",
    },
)
# Its bootloader and its importer are in a bundle.
COMPONENT: Final = Component(PYINSTALLER.name, PYINSTALLER.version, PYINSTALLER.licence, PYINSTALLER.purl)
NEEDED: Final = (
    Package(
        name="altgraph",
        version="0.17.5",
        licence="MIT",
        module="altgraph",
        sha256={ANY_MACHINE: "f3a22400bce1b0c701683820ac4f3b159cd301acab067c51c653e06961600597"},
    ),
    Package(
        name="packaging",
        version="26.3",
        licence="Apache-2.0 OR BSD-2-Clause",
        module="packaging",
        sha256={ANY_MACHINE: "d7193f7c8e4e93f444fde0262bf90af30e16fa0ad0ad44cb553c87339b23cd1c"},
    ),
)


def pyinstaller(store: Store, machine: Architecture) -> Step:
    """The step's folder is for the module search path of a Python on *machine*."""
    each: dict[Architecture, Step] = {
        arch: wheels.brought(store, "pyinstaller", (PYINSTALLER, *NEEDED), arch) for arch in ARCHITECTURES
    }

    def join(folder: Path) -> None:
        shutil.copytree(wheels.folder_of(each[machine]), folder, dirs_exist_ok=True)
        for arch, step in each.items():
            place = Path(PYINSTALLER.module, "bootloader", PLATFORMS[arch])
            shutil.copytree(wheels.folder_of(step) / place, folder / place, dirs_exist_ok=True)

    wheels_of = {arch: step.key for arch, step in each.items()}
    return store.step("pyinstaller", {"machine": machine, "wheels": wheels_of}, join, quiet=True)


def licence_text(store: Store) -> bytes:
    packages = wheels.folder_of(wheels.brought(store, "pyinstaller", (PYINSTALLER, *NEEDED), ARCHITECTURES[0]))
    (text,) = packages.glob("pyinstaller-*.dist-info/**/COPYING.txt")
    return text.read_bytes()
