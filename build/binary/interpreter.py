"""CPython for a target: archives to link, headers, the standard library, and modules in C among which a link chooses.

Every module in C that can be linked statically is in the archive; which of them a file gets is decided where it is
linked, by the table of `inittab`. What only compiles, parses or is seldom run is compiled for size, the rest for speed.
`host_python` is the same source compiled for this machine, in a hurry, to write bytecode with. Not here: a file to run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from build.binary.libraries import Library, openssl, sqlite, zlib
from build.binary.pins import DebianPin
from build.binary.sources import Shelf
from build.binary.store import Step, Store
from build.binary.toolchain import SOURCE_DATE_EPOCH, Target, tools

# Needs a library that is not linked, a terminal, or `dlopen`.
ABSENT: Final = (
    *("_ctypes", "_tkinter", "_curses", "_curses_panel", "readline", "_dbm", "_gdbm", "_bz2", "_lzma", "_uuid"),
    *("_codecs_cn", "_codecs_hk", "_codecs_iso2022", "_codecs_jp", "_codecs_kr", "_codecs_tw", "_multibytecodec"),
)

# What the recipes call, all of them: the first that is made looks for all.
PROGRAMS: Final = {
    "make": "make",
    "gcc": "gcc",
    "readelf": "binutils",
    "perl": "perl",
    "tclsh": "tcl",
    "xz": "xz-utils",
    "patch": "patch",
}

# Links to what this machine happens to have, which bytecode does not need. zlib is the one of the target's sources:
# another one's compressed bytes may be others.
ABSENT_HERE: Final = ("_ssl", "_hashlib", "_sqlite3")

# What runs once, at start, or to report an error. The loop, the objects and what a request passes through are not here.
FOR_SIZE: Final = """
Parser/%.o Python/Python-ast.o Python/asdl.o Python/ast.o Python/ast_opt.o Python/ast_unparse.o Python/assemble.o
Python/compile.o Python/flowgraph.o Python/instruction_sequence.o Python/symtable.o Python/future.o Python/getopt.o
Python/pylifecycle.o Python/initconfig.o Python/preconfig.o Python/pathconfig.o Python/traceback.o
Python/tracemalloc.o Python/perf_trampoline.o Python/perf_jit_trampoline.o
Python/crossinterp.o Python/pythonrun.o Python/suggestions.o
Modules/main.o Modules/getpath.o Modules/faulthandler.o Modules/posixmodule.o Modules/_ssl.o Modules/_hashopenssl.o
Modules/pyexpat.o Modules/_elementtree.o Modules/unicodedata.o Modules/_lsprof.o Modules/rotatingtree.o
Modules/_interpretersmodule.o Modules/_interpchannelsmodule.o Modules/_interpqueuesmodule.o Modules/_zoneinfo.o
Modules/cmathmodule.o Modules/_statisticsmodule.o Modules/_decimal/%.o Modules/expat/%.o Modules/_sqlite/%.o
Modules/symtablemodule.o Modules/syslogmodule.o Modules/termios.o Modules/resource.o Modules/mmapmodule.o
Modules/_multiprocessing/%.o Modules/_tracemalloc.o Modules/_pickle.o Modules/_csv.o Modules/arraymodule.o
Modules/sha3module.o Modules/_hacl/%.o Modules/_blake2/%.o Modules/_datetimemodule.o Modules/_json.o
Modules/socketmodule.o Modules/mathmodule.o Modules/binascii.o Modules/_struct.o Modules/_operator.o
Modules/zlibmodule.o Modules/_threadmodule.o Modules/signalmodule.o Modules/_localemodule.o Modules/selectmodule.o
Modules/_codecsmodule.o Modules/_io/fileio.o Modules/_io/textio.o Modules/_io/stringio.o Modules/_io/iobase.o
Modules/_randommodule.o
Objects/typevarobject.o Objects/unionobject.o Objects/genericaliasobject.o Objects/odictobject.o
Objects/complexobject.o Objects/structseq.o Objects/namespaceobject.o Objects/picklebufobject.o
Python/instrumentation.o Python/sysmodule.o Python/_warnings.o
"""

# Finds its standard library in the sources' own folder, as an interpreter does that runs where it was compiled.
HOST: Final = """
cp -R "$ZLIB/source" zlib
(cd zlib && CFLAGS="-O2 -fPIC" ./configure --static && make -j"$JOBS" libz.a)
export ZLIB_CFLAGS="-I$WORK/zlib" ZLIB_LIBS="$WORK/zlib/libz.a"
MODULE_BUILDTYPE=static CFLAGS="-O1 -g0" "$SOURCE/source/configure" \
    --disable-test-modules --without-ensurepip --without-doc-strings $ABSENT
make -j"$JOBS" python
make pybuilddir.txt
cp python pybuilddir.txt "$OUT"
mkdir -p "$OUT/$(dirname "$(cat pybuilddir.txt)")"
cp -R "$(cat pybuilddir.txt)" "$OUT/$(dirname "$(cat pybuilddir.txt)")"
"""

# The sources are named by a relative path, for CPython keeps it. Of its files some are changed. Of its frozen modules
# only the import system is kept: the file brings all others itself, and reads them by the launcher's `thawed`. A second
# copy of an interpreter's state is left out, 280 KB from which other interpreters would start: a file has one, started
# once. And a character's name is found by a walk through the table that finds the character of a name, 10 us, in place
# of a table of its own of 97 KB.
# Configure scripts run small programs to learn about a system; for another machine's they are told what musl does.
STATIC: Final = """
export MODULE_BUILDTYPE=static PKG_CONFIG=false LINKFORSHARED=" "
export ZLIB_CFLAGS="-I$ZLIB/include" ZLIB_LIBS="-L$ZLIB/lib -lz"
export LIBSQLITE3_CFLAGS="-I$SQLITE/include" LIBSQLITE3_LIBS="-L$SQLITE/lib -lsqlite3"
mkdir openssl
ln -s "$OPENSSL/include" openssl/include
ln -s "$OPENSSL/lib" openssl/lib
ln -s "$SOURCE/source" source
CFLAGS="$COMPILE_FLAGS -O2" LDFLAGS="-static" \
source/configure --build="$(uname -m)-pc-linux-gnu" --host="$HOST" --with-build-python="$HOST_PYTHON/python" \
    --prefix=/usr --disable-shared --disable-test-modules --without-ensurepip --without-doc-strings \
    --with-openssl="$WORK/openssl" --with-ssl-default-suites=openssl --with-mimalloc --with-computed-gotos \
    --enable-ipv6 ac_cv_file__dev_ptmx=yes ac_cv_file__dev_ptc=no ac_cv_func_dlopen=no ac_cv_lib_dl_dlopen=no \
    ac_cv_working_tzset=yes ac_cv_working_openssl_ssl=yes ac_cv_working_openssl_hashlib=yes $ABSENT
sed -e '/^#include "frozen_modules/{/importlib\\._bootstrap\\|zipimport/!d}' \
    -e '/\\(stdlib\\|test\\)_modules\\[\\] = {/,/^};/{/_Py_M__/d}' source/Python/frozen.c > Python/frozen.c
sed -e 's/_PyRuntimeState initial = .*;/_PyThreadStateImpl initial_thread = _PyThreadStateImpl_INIT;/' \
    -e 's/memcpy(runtime, &initial, .*;/Py_FatalError("Python was started twice");/' \
    -e 's/memcpy(interp, &initial.*;/status = _PyStatus_ERR("there is one interpreter here"); goto error;/' \
    -e 's/&initial\\._main_interpreter\\._initial_thread/\\&initial_thread/' source/Python/pystate.c > Python/pystate.c
sed -e '/^    offset = dawg_codepoint_to_pos_index1/,/^        return 0;/c\\
    const unsigned int count = Py_ARRAY_LENGTH(dawg_pos_to_codepoint);\\
    for (offset = 0; offset < count && dawg_pos_to_codepoint[offset] != code; offset++);\\
    if (offset == count) return 0;' source/Modules/unicodedata.c > Modules/unicodedata.c
sed -i 's,$(srcdir)/Modules/unicodedata.c,Modules/unicodedata.c,g' Makefile
printf '%s: private EXTRA_CFLAGS += %s\\n' "$(echo $FOR_SIZE)" "$SIZE_FLAGS" \
    Modules/unicodedata.o -Isource/Modules Python/import.o \
"$SIZE_FLAGS -DPyMarshal_ReadObjectFromString=thawed" > flags.mk
make -j"$JOBS" -f Makefile -f flags.mk libpython3.13.a $ARCHIVES
mkdir "$OUT/lib" "$OUT/include"
cp libpython3.13.a $ARCHIVES "$OUT/lib"
cp Modules/config.c "$OUT"
cp -R source/Include/. pyconfig.h "$OUT/include"
"""
ARCHIVES: Final = (
    "Modules/expat/libexpat.a",
    "Modules/_decimal/libmpdec/libmpdec.a",
    "Modules/_hacl/libHacl_Hash_SHA2.a",
)

ALLOCATOR: Final = """
printf '%s' "$TEXT" > allocator.c
$CC $COMPILE_FLAGS -O2 -Wall -I"$PYTHON/include/internal/mimalloc" -c allocator.c -o "$OUT/allocator.o"
"""
ALLOCATOR_TEXT: Final = Path(__file__).with_name("allocator.c")


@dataclass(frozen=True)
class Python:
    """CPython compiled for a target.

    *archives* are what a static file is linked from, in order: the *allocator*, which gives malloc() and free() to
    mimalloc, the interpreter, the libraries. *parts* are the steps that they are in. *stdlib* is the folder of the
    modules in Python.
    """

    target: Target
    pin: DebianPin
    version: str
    include: Path
    stdlib: Path
    archives: tuple[Path, ...]
    allocator: Path
    libraries: tuple[Library, ...]
    step: Step
    parts: Mapping[str, Step]

    @cached_property
    def builtins(self) -> Mapping[str, str | None]:
        """The modules in C that can be linked, each with its init function; None where the interpreter makes it."""
        table = (self.step.folder / "config.c").read_text().partition("_PyImport_Inittab[]")[2]
        return {name: None if init == "NULL" else init for name, init in re.findall(r'\{"(\w+)", (\w+)\}', table)}


def inittab(python: Python, modules: Iterable[str], others: Mapping[str, str]) -> str:
    """C for the table of built-in modules: of CPython's own those named, and *others* by their init function.

    Linked before the archives it takes the place of CPython's table, and what is in neither is left out of the file.
    """
    inits = {name: python.builtins[name] for name in modules} | dict(others)
    declared = "".join(f"extern PyObject *{init}(void);\n" for init in sorted({*inits.values()} - {None}, key=str))
    rows = "".join(f'    {{"{name}", {init or "NULL"}}},\n' for name, init in inits.items())
    return f'#include "Python.h"\n{declared}struct _inittab _PyImport_Inittab[] = {{\n{rows}    {{NULL, NULL}}\n}};\n'


def host_python(store: Store) -> Path:
    """A CPython of the same source that runs on this machine. It finds its standard library by itself."""
    return _host(store).folder / "python"


def python(store: Store, target: Target) -> Python:
    """The interpreter as archives for a static *target*; what loads shared objects is built elsewhere (`bundle`)."""
    pin, source = Shelf(store).debian("python3.13")
    libraries = (openssl(store, target), sqlite(store, target), zlib(store, target))
    under = {name: library.step for name, library in zip(("OPENSSL", "SQLITE", "ZLIB"), libraries, strict=True)}
    toolset = tools(store, target)
    flags = {**toolset.settings, "COMPILE_FLAGS": " ".join(target.compile_flags)}
    step = store.recipe(
        f"python-{target.triple}",
        STATIC,
        uses={
            "SOURCE": source,
            "HOST_PYTHON": _host(store),
            **under,
        },
        settings={
            **flags,
            "HOST": target.host,
            "ABSENT": _without(ABSENT),
            "FOR_SIZE": " ".join(FOR_SIZE.split()),
            "SIZE_FLAGS": target.size_flags,
            "ARCHIVES": " ".join(ARCHIVES),
        },
        path=(toolset.folder,),
        does="compiles the interpreter, the longest step",
    )
    allocator = store.recipe(
        f"allocator-{target.triple}",
        ALLOCATOR,
        uses={"PYTHON": step},
        settings={**flags, "TEXT": ALLOCATOR_TEXT.read_text()},
        path=(toolset.folder,),
        does="compiles the allocator's names",
    )
    own = ("libpython3.13.a", *(Path(name).name for name in ARCHIVES))
    return Python(
        target=target,
        pin=pin,
        version=pin.upstream_version,
        include=step.folder / "include",
        stdlib=source.folder / "source/Lib",
        archives=(
            allocator.folder / "allocator.o",
            *(step.folder / "lib" / name for name in own),
            *(archive for library in libraries for archive in library.archives),
        ),
        allocator=allocator.folder / "allocator.o",
        libraries=libraries,
        step=step,
        parts={"PYTHON": step, "ALLOCATOR": allocator, **under},
    )


def _host(store: Store) -> Step:
    _, source = Shelf(store).debian("python3.13")
    return store.recipe(
        "host-python",
        HOST,
        uses={"SOURCE": source, "ZLIB": Shelf(store).debian("zlib")[1]},
        settings={
            "ABSENT": _without((*ABSENT, *ABSENT_HERE)),
            "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH,
            "CACHE": str(store.root),  # it carries the address of its standard library
        },
        does="compiles an interpreter for this machine, to write bytecode with",
        needs=PROGRAMS,
    )


def _without(modules: Iterable[str]) -> str:
    return " ".join(f"py_cv_module_{name}=n/a" for name in modules)
