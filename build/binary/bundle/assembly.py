"""A bundle from its parts: PyInstaller run on a plan, its result checked, and both forms of it in the output folder.

The archive after the program's own bytes is the static executable's: data, the SBOM, the licences' texts. Not here: the
product compiled to machine code (`nuitka`).
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from build.binary import components, contents, frozen, sbom, wheels
from build.binary.bundle import bundler, gate
from build.binary.bundle.interpreter import GLIBC, SharedPython, runner, shared_python
from build.binary.bundle.plan import INSIDE, ONEDIR, ONEFILE, PROGRAM, REPORT, Native, Plan
from build.binary.bundle.strip import stripped
from build.binary.contents import Contents
from build.binary.extensions import INITTAB
from build.binary.sbom import Component
from build.binary.store import BuildFailed, Step, Store, sha256_of
from build.binary.toolchain import SOURCE_DATE_EPOCH, Architecture, tools

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
SPEC: Final = HERE / "bundle.spec"
NATIVE_SOURCE: Final = HERE.parent / "launcher/native.c"
SBOM_INSIDE: Final = "sbom.cdx.json"
TOLD_LINES: Final = 15
KEPT: Final = 4  # of the bundles of one sort, 50 MB each

# What the result depends on, beside the modules themselves and the other steps.
RECIPE: Final = (
    *(HERE.parent / name for name in ("contents.py", "contents.toml", "elf.py", "frozen.py", "imports.py")),
    *(
        HERE / name
        for name in ("assembly.py", "bundle.spec", "dynamic.py", "gate.py", "plan.py", "start.py", "strip.py")
    ),
)

NATIVE: Final = """
$CC $COMPILE_FLAGS -Os -shared $LINK_FLAGS -I"$INCLUDE" \
    -DNO_FROZEN_PAGES -DPyInit__moltbot_edge_native=PyInit__native "$SOURCE" -o "$OUT/$NAME"
"""


@dataclass(frozen=True)
class Compiled:
    """The product as a module in C; what is to be said of who made it, and that one's licence."""

    extension: Path
    step: Step
    maker: Component
    licence: Path


def build(builder: str, arch: Architecture, out: Path, store: Store, compiled: Compiled | None = None) -> list[Path]:
    """Leave ``moltbot-edge-ARCH-BUILDER``, ``...-onedir.tar.gz``, and of each the ``.sha256`` and ``.cdx.json``."""
    listed = contents.read().for_bundle()
    python = shared_python(store, arch)
    packages = wheels.unpacked(store, listed, arch)
    bundle = _bundle(store, builder, listed, python, packages, compiled)
    report = json.loads((bundle.folder / REPORT).read_text())
    store.say(report["passed"])

    product = components.product(ROOT, report["modules"])
    parts = [
        *components.of(store, listed, python, report["modules"], python.builtins),
        bundler.COMPONENT,
        *([compiled.maker] if compiled else []),
    ]
    properties = {"builder": builder, "target": python.target.triple}
    inside = sbom.text(sbom.document(product, parts, properties=properties)).encode()
    data = {name: (wheels.folder_of(packages) / name).read_bytes() for name in listed.data}
    texts = components.licence_texts(store, listed, python, wheels.folder_of(packages))
    texts["licences/PyInstaller.txt"] = bundler.licence_text(store)
    if compiled:
        texts[f"licences/{compiled.maker.name}.txt"] = compiled.licence.read_bytes()
    archived = {**data, **texts, SBOM_INSIDE: inside}

    name = f"moltbot-edge-{arch}-{builder}"
    made: list[Path] = []
    for file, write in ((out / name, _onefile), (out / f"{name}-onedir.tar.gz", _onedir)):
        unfinished = file.with_name(f".{file.name}.unfinished")
        write(bundle.folder, archived, unfinished)
        digest = sha256_of(unfinished)
        unfinished.replace(file)
        beside = sbom.document(product, parts, properties=properties, sha256=digest)
        made += [file, _written(out / f"{file.name}.sha256", f"{digest}  {file.name}\n"),
                 _written(out / f"{file.name}.cdx.json", sbom.text(beside))]  # fmt: skip
    return made


def _bundle(
    store: Store, builder: str, listed: Contents, python: SharedPython, packages: Step, compiled: Compiled | None
) -> Step:
    host, own = runner(store), _own_module(store, python)
    tool = bundler.pyinstaller(store, host.target.architecture)
    product = {str(path.relative_to(ROOT)): sha256_of(path) for path in sorted((ROOT / listed.product).rglob("*.py"))}
    inputs = {
        "product": product,
        "recipe": {path.name: sha256_of(path) for path in RECIPE},
        "python": python.step.key,
        "packages": packages.key,
        "pyinstaller": tool.key,
        "native": own.path,
        "compiled": compiled.step.key if compiled else None,
    }

    def make(folder: Path) -> None:
        natives = (own, *_natives(python, wheels.folder_of(packages), folder / "natives"))
        if compiled:
            natives = (*natives, Native(f"{listed.product}{python.suffix}", str(compiled.extension), "EXTENSION"))
        plan = Plan(
            arch=python.target.architecture,
            library=str(python.stdlib),
            packages=str(wheels.folder_of(packages)),
            product=str(ROOT),
            python=_without_symbols(python.library, folder / "natives" / python.library.name),
            natives=natives,
            compiled=compiled is not None,
            out=str(folder),
        )
        plan.write(folder / "plan.json")
        _run(store, host, tool, folder)
        report = json.loads((folder / REPORT).read_text())
        (folder / REPORT).write_text(json.dumps({**report, "passed": _checked(folder, python)}))

    name = f"bundle-{builder}-{python.target.triple}"
    step = store.step(name, inputs, make, does="runs PyInstaller")
    store.thin(name, keep=KEPT)
    return step


def _own_module(store: Store, python: SharedPython) -> Native:
    """``moltbot_edge._native`` of the static executable's launcher, as a file."""
    toolset = tools(store, python.target)
    step = store.recipe(
        f"native-{python.target.triple}",
        NATIVE,
        settings={
            **toolset.settings,
            "COMPILE_FLAGS": " ".join(python.target.compile_flags),
            "LINK_FLAGS": " ".join(python.target.link_flags),
            "SHA256": sha256_of(NATIVE_SOURCE),
            "PYTHON": python.step.key,
            "NAME": f"_native{python.suffix}",
        },
        unkeyed={"SOURCE": str(NATIVE_SOURCE), "INCLUDE": str(python.include)},
        path=(toolset.folder,),
        does="compiles the package's own module in C",
    )
    name = f"_native{python.suffix}"
    return Native(f"moltbot_edge/{name}", str(step.folder / name), "EXTENSION")


def _natives(python: SharedPython, packages: Path, folder: Path) -> tuple[Native, ...]:
    """The same modules in C as the static executable has, from the packages' wheels, stripped into *folder*."""
    found = []
    for module in INITTAB:
        name = module.replace(".", "/") + python.suffix
        found.append(Native(name, _without_symbols(packages / name, folder / name), "EXTENSION"))
    return tuple(found)


def _without_symbols(file: Path, copy: Path) -> str:
    """The path of the *copy*. Of the interpreter's library that is a ninth less, and fewer paths of who built it."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(stripped(file.read_bytes()))
    return str(copy)


def _run(store: Store, host: SharedPython, tool: Step, folder: Path) -> None:
    work = store.root / "work" / folder.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(work),
        "LC_ALL": "C.UTF-8",
        "LD_LIBRARY_PATH": str(host.library.parent),
        "PYINSTALLER_CONFIG_DIR": str(work / "config"),
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": f"{ROOT}:{tool.folder}",
        "PYTHONPYCACHEPREFIX": str(store.root / "bytecode"),
        "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH,
    }
    command = [
        *(str(host.program), "-S", "-m", "PyInstaller", "--noconfirm", "--log-level=WARN"),
        *("--distpath", str(folder), "--workpath", str(work), str(SPEC), "--", str(folder / "plan.json")),
    ]
    done = subprocess.run(
        command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        said = "\n".join(f"  {line}" for line in done.stdout.decode(errors="replace").splitlines()[-TOLD_LINES:])
        raise BuildFailed(f"PyInstaller made no bundle (exit {done.returncode}):\n{said}")
    shutil.rmtree(work)


def _checked(folder: Path, python: SharedPython) -> str:
    """What the bundle asks of a system, in a line. Raises `BuildFailed`."""
    arch = python.target.architecture
    try:
        for files in ({ONEFILE: (folder / ONEFILE).read_bytes(), **_files(folder / INSIDE)}, _files(folder / ONEDIR)):
            passed = gate.check(files, arch, GLIBC)
    except gate.Refused as why:
        raise BuildFailed(f"the bundle that PyInstaller made does not run everywhere on {arch}:\n{why}") from why
    return str(passed)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _onefile(bundle: Path, archived: Mapping[str, bytes], file: Path) -> None:
    shutil.copyfile(bundle / ONEFILE, file)
    frozen.archive(file, archived)
    file.chmod(0o755)


def _onedir(bundle: Path, archived: Mapping[str, bytes], file: Path) -> None:
    """A tar file whose bytes depend on nothing else; everything in it is below one folder."""
    folder = bundle / ONEDIR
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / PROGRAM
        shutil.copyfile(folder / PROGRAM, program)
        frozen.archive(program, archived)
        with (
            file.open("wb") as output,
            gzip.GzipFile("", "wb", fileobj=output, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w") as tar,
        ):
            for path in sorted(folder.rglob("*")):
                source = program if path == folder / PROGRAM else path
                entry = tar.gettarinfo(source, f"{PROGRAM}/{path.relative_to(folder)}")
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = "root"
                entry.mtime = int(SOURCE_DATE_EPOCH)
                entry.mode = 0o755 if entry.isdir() or source == program else 0o644
                if entry.isreg():
                    with source.open("rb") as content:
                        tar.addfile(entry, content)
                else:
                    tar.addfile(entry)


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
