"""``scripts/build --with nuitka``: a bundle in which the package ``moltbot_edge`` is machine code, one module in C.

Nuitka writes the C on this machine, the cross compiler compiles it against the target's headers, and what it believes
to be this machine's file gets the target's name. The other packages stay bytecode: compiling those too doubled the
memory in a trial and made nothing faster that could be measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from build.binary import contents
from build.binary.bundle import assembly
from build.binary.bundle.assembly import ROOT, Compiled
from build.binary.bundle.interpreter import runner, shared_python
from build.binary.pins import package_pin
from build.binary.sbom import Component
from build.binary.sources import Shelf
from build.binary.store import Store, sha256_of
from build.binary.toolchain import Architecture, tools, zig

# Only the part that Nuitka links into what it makes; that has an exception to the compiler's AGPL of its own.
LICENCE: Final = "LicenseRef-Nuitka-Runtime-Library-Exception"

# A compiler that Nuitka takes for clang, by its name. zig knows an object by the ending .o, where SCons writes .os;
# and asked for its version it does not want to hear of a target.
COMPILER: Final = """\
#!/bin/sh
set -e
case $1 in -dumpversion | --version) exec "$ZIG_PROGRAM" cc "$1" ;; esac
case " $* " in
*" -shared "*)
    for word; do
        shift
        case $word in
        @*)
            sed 's/"//g; s/\\.os$//' "${word#@}" | while read -r object; do ln -f "$object.os" "$object.o"; done
            sed 's/\\.os"/.o"/' "${word#@}" > objects.txt
            word=@objects.txt
            ;;
        esac
        set -- "$@" "$word"
    done
    ;;
esac
exec "$CC_FOR_TARGET" "$@"
"""

# Nuitka changes copies of CPython's headers, those of the interpreter that it runs on: that one is given the target's.
COMPILED: Final = """
mkdir -p python/bin product
cp "$HOST_PYTHON/bin/python3.13" python/bin
ln -s "$HOST_PYTHON/lib" python/lib
ln -s "$TARGET_PYTHON/include" python/include
cp -R "$PRODUCT" product
find product -name __pycache__ -prune -exec rm -r {} +
printf '%s' "$GENERATED" > "product/$GENERATED_FILE"
printf '%s' "$COMPILER" > clang
chmod +x clang
cd product
export CC="$WORK/clang" NUITKA_CACHE_DIR="$WORK/cache" PYTHONPATH="$NUITKA"
"$WORK/python/bin/python3.13" -S -m nuitka --mode=package --include-package="$NAME" --nofollow-imports \
    --lto=no --disable-ccache --no-pyi-file --jobs="$JOBS" --output-dir="$WORK/made" "$NAME"
mv "$WORK"/made/*.so "$OUT/$NAME$SUFFIX"
"""


def build(arch: Architecture, out: Path, store: Store | None = None) -> list[Path]:
    """Raises `BuildFailed`."""
    store = store or Store()
    return assembly.build("nuitka", arch, out, store, _compiled(store, arch))


def _compiled(store: Store, arch: Architecture) -> Compiled:
    listed, package = contents.read().for_bundle(), package_pin("sdist", "nuitka")
    python, host = shared_python(store, arch), runner(store)
    source, toolset = Shelf(store).sdist(package), tools(store, python.target)
    maker = Component("nuitka", package.version, LICENCE, f"pkg:pypi/nuitka@{package.version}")
    product = ROOT / listed.product
    name = f"{listed.product}{python.suffix}"
    step = store.recipe(
        f"compiled-{python.target.triple}",
        COMPILED,
        uses={"NUITKA": source},
        settings={
            **toolset.settings,
            "NAME": listed.product,
            "SUFFIX": python.suffix,
            "COMPILER": COMPILER,
            "GENERATED": listed.generated(),
            "GENERATED_FILE": contents.GENERATED.replace(".", "/") + ".py",
            "SOURCES": " ".join(
                f"{path.relative_to(ROOT)}={sha256_of(path)}" for path in sorted(product.rglob("*.py"))
            ),
            "PYTHON": python.step.key,
        },
        unkeyed={
            "PRODUCT": str(product),
            "HOST_PYTHON": str(host.prefix),
            "TARGET_PYTHON": str(python.prefix),
            "LD_LIBRARY_PATH": str(host.library.parent),
            "ZIG_PROGRAM": str(zig(store).folder / "ziglang/zig"),
            "CC_FOR_TARGET": str(toolset.command("cc")),
        },
        path=(toolset.folder,),
        does="compiles the package to machine code",
    )
    return Compiled(step.folder / name, step, maker, source.folder / "LICENSE-RUNTIME.txt")
