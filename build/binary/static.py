"""The static executable: bytecode, interpreter, extensions and libraries in one ELF file that needs nothing else.

It joins what others make: `contents` says what goes in, `frozen` makes bytecode of it, `interpreter` and `extensions`
compile for the target. What is linked is read back (`elf`, `instructions`) before it gets its name. An archive lies
after the ELF: data, the SBOM, the licences' texts; `unzip -l` shows it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from build.binary import components, contents, elf, extensions, frozen, instructions, interpreter, sbom, wheels
from build.binary.bundle.strip import stripped
from build.binary.contents import Contents
from build.binary.extensions import INITTAB
from build.binary.interpreter import Python
from build.binary.store import BuildFailed, Step, Store, sha256_of
from build.binary.toolchain import Architecture, Target, tools

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
LAUNCHER: Final = HERE / "launcher"
NATIVE: Final = {"moltbot_edge._native": "PyInit__moltbot_edge_native"}
SBOM_INSIDE: Final = "sbom.cdx.json"

KEPT: Final = 8  # of the steps that every edit of the product makes anew: 30 MB each time

# What bytecode depends on, beside the modules themselves and the interpreter that writes it.
FREEZER: Final = ("contents.py", "contents.toml", "frozen.py", "imports.py")

# With symbols, by which a newer instruction is known to be in dispatched code; what is shipped is this without them.
# A second link would not be the same file: asked for a stripped one, zig compiles its C library otherwise.
LINK: Final = """
for source in main native thaw; do
    $CC $COMPILE_FLAGS -Os -Wall -Wno-unused-parameter -I"$PYTHON_INCLUDE" -I"$ZLIB/include" \
        -c "$LAUNCHER/$source.c" -o $source.o
done
printf '%s' "$INITTAB" > inittab.c
$CC $COMPILE_FLAGS -Os -I"$PYTHON_INCLUDE" -c inittab.c -o inittab.o
$CC $COMPILE_FLAGS -Os -I"$PYTHON_INCLUDE" -c "$FROZEN/table.c" -o table.o
$CC $COMPILE_FLAGS -I"$FROZEN" -c "$FROZEN/blob.S" -o blob.o
$CC $LINK_FLAGS -o "$OUT/with-symbols" main.o native.o thaw.o inittab.o table.o blob.o $OBJECTS $ARCHIVES -lm
"""


@dataclass(frozen=True)
class Linked:
    """*executable* is with its symbols."""

    executable: Path
    frozen: Mapping[str, Any]
    builtins: Sequence[str]


def build(arch: Architecture, out: Path, store: Store | None = None) -> list[Path]:
    """Leave ``moltbot-edge-ARCH``, its ``.sha256`` and its ``.cdx.json`` in *out*. Raises `BuildFailed`."""
    store = store or Store()
    target = Target(arch)
    listed = contents.read()
    python = interpreter.python(store, target)
    objects = extensions.objects(store, python)
    packages = wheels.unpacked(store, listed, arch)
    linked = _linked(store, listed, python, objects, packages)
    shipped = stripped(linked.executable.read_bytes())
    _check(shipped, linked, arch, (ROOT, store.root))
    store.say(_weighed(shipped, linked))
    for name in ("frozen", "executable"):
        store.thin(f"{name}-{target.triple}", KEPT)

    product = components.product(ROOT, linked.frozen["modules"])
    parts = components.of(store, listed, python, linked.frozen["modules"], linked.builtins)
    properties = {"builder": "static", "target": target.triple}
    inside = sbom.document(product, parts, properties=properties)
    data = {name: (wheels.folder_of(packages) / name).read_bytes() for name in listed.data}
    texts = components.licence_texts(store, listed, python, wheels.folder_of(packages))

    file = out / f"moltbot-edge-{arch}"
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")  # another build may be at the same place
    unfinished.write_bytes(shipped)
    frozen.archive(unfinished, {**data, **texts, SBOM_INSIDE: sbom.text(inside).encode()})
    unfinished.chmod(0o755)
    digest = sha256_of(unfinished)
    unfinished.replace(file)
    beside = sbom.document(product, parts, properties=properties, sha256=digest)
    return [file, _written(out / f"{file.name}.sha256", f"{digest}  {file.name}\n"),
            _written(out / f"{file.name}.cdx.json", sbom.text(beside))]  # fmt: skip


def _frozen(store: Store, listed: Contents, python: Python, packages: Step) -> Step:
    """The blob, its table and ``frozen.json``. Made by the interpreter of this machine, from the target's source."""
    host = interpreter.host_python(store)
    product = {str(path.relative_to(ROOT)): sha256_of(path) for path in sorted((ROOT / listed.product).rglob("*.py"))}
    inputs = {
        "product": product,
        "freezer": {name: sha256_of(HERE / name) for name in FREEZER},
        "python": python.step.key,
        "packages": packages.key,
    }

    def make(folder: Path) -> None:
        places = [python.stdlib, wheels.folder_of(packages), ROOT, folder]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
        command = [str(host), *frozen.OPTIONS, "-m", "build.binary.frozen", *map(str, places)]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise BuildFailed(f"the modules could not be frozen:\n{done.stderr.strip()}")

    return store.step(f"frozen-{python.target.triple}", inputs, make, does="compiles every module to bytecode")


def _linked(store: Store, listed: Contents, python: Python, objects: Sequence[Path], packages: Step) -> Linked:
    bytecode = _frozen(store, listed, python, packages)
    report = json.loads((bytecode.folder / "frozen.json").read_text())
    builtins = [name for name, init in python.builtins.items() if name in report["compiled"] or init is None]
    _complete(report["compiled"], [*builtins, *INITTAB, *NATIVE], listed)
    toolset = tools(store, python.target)
    step = store.recipe(
        f"executable-{python.target.triple}",
        LINK,
        uses={"FROZEN": bytecode, **python.parts},
        settings={
            **toolset.settings,
            "COMPILE_FLAGS": " ".join(python.target.compile_flags),
            "LINK_FLAGS": " ".join(flag for flag in python.target.link_flags if flag != "-s"),
            "INITTAB": interpreter.inittab(python, builtins, {**INITTAB, **NATIVE}),
            "SOURCES": json.dumps({path.name: sha256_of(path) for path in sorted(LAUNCHER.iterdir())}),
            "COMPILED": " ".join(sorted({path.parent.name for path in objects})),  # the keys of the extensions' steps
        },
        unkeyed={
            "LAUNCHER": str(LAUNCHER),
            "PYTHON_INCLUDE": str(python.include),
            "OBJECTS": " ".join(map(str, objects)),
            "ARCHIVES": " ".join(map(str, python.archives)),
        },
        path=(toolset.folder,),
        does="links the executable",
    )
    return Linked(step.folder / "with-symbols", report, builtins)


def _complete(wanted: Sequence[str], linked: Sequence[str], listed: Contents) -> None:
    """Each promise that no Python file keeps has to be kept by a module in C."""
    # What is below another module without a source of its own is set by that: os.path, collections.abc.
    missing = [name for name in listed.plugins if name in wanted and name not in linked and "." not in name]
    if missing:
        raise BuildFailed(f"contents.toml promises modules to plug-ins that are neither frozen nor built in: {missing}")


def _check(shipped: bytes, linked: Linked, arch: Architecture, folders: Sequence[Path]) -> None:
    """Raises `BuildFailed` with everything that would keep the file from running on some machine, and for a path into
    *folders*: with one, another machine would not make the same file."""
    found = elf.complaints(elf.Elf(shipped), arch)
    found += [f"it has a path into {folder} in it" for folder in folders if f"{folder}/".encode() in shipped]
    newer = instructions.newer(elf.Elf(linked.executable.read_bytes()))
    for function, features in instructions.undispatched(newer, arch).items():
        found.append(f"{function} has instructions that not every {arch} processor has: {', '.join(features)}")
    if found:
        raise BuildFailed("the executable that was linked is not one for every board:\n  " + "\n  ".join(found))


def _weighed(shipped: bytes, linked: Linked) -> str:
    bytecode = sum(row["size"] for row in linked.frozen["modules"])
    return (
        f"linked: {len(shipped) / 1e6:.2f} MB, of it {bytecode / 1e6:.2f} MB bytecode, in part deflated "
        f"({len(linked.frozen['modules'])} modules in Python, {len(linked.builtins)} of CPython's in C)"
    )


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
