"""CPython as a shared library, for what loads other people's modules in C: sources and switches of the static one.

Its own modules in C are part of the library, so a start opens one file in place of sixty; the libraries under them are
hidden in it, so that a module that brings an OpenSSL of its own meets no other. It is compiled against symbols of an
old glibc (`GLIBC`). On the machine that it is for it is also a whole Python, which runs PyInstaller and Nuitka.
Not here: a file to run without Python.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from build.binary.bundle.ffi import libffi
from build.binary.interpreter import ABSENT, host_python
from build.binary.libraries import Library, openssl, sqlite, zlib
from build.binary.pins import DebianPin
from build.binary.sources import Shelf
from build.binary.store import BuildFailed, Step, Store
from build.binary.toolchain import ARCHITECTURES, Architecture, Target, tools

# The oldest that aarch64 has, from 2013: JetPack 4 has 2.27, Raspberry Pi OS 11 has 2.31.
GLIBC: Final = (2, 17)

LIBRARY: Final = "libpython3.13.so.1.0"

SHARED: Final = """
export MODULE_BUILDTYPE=static PKG_CONFIG=false
export ZLIB_CFLAGS="-I$ZLIB/include" ZLIB_LIBS="-L$ZLIB/lib -lz"
export LIBSQLITE3_CFLAGS="-I$SQLITE/include" LIBSQLITE3_LIBS="-L$SQLITE/lib -lsqlite3"
export LIBFFI_CFLAGS="-I$LIBFFI/include" LIBFFI_LIBS="-L$LIBFFI/lib -lffi"
mkdir openssl
ln -s "$OPENSSL/include" openssl/include
ln -s "$OPENSSL/lib" openssl/lib
CFLAGS="$COMPILE_FLAGS -O2 -fno-semantic-interposition -ffile-prefix-map=$SOURCE/source=." LDFLAGS="$LINK_FLAGS" \
"$SOURCE/source/configure" --build="$(uname -m)-pc-linux-gnu" --host="$HOST" --with-build-python="$HOST_PYTHON" \
    --prefix=/usr --enable-shared --disable-test-modules --without-ensurepip --without-doc-strings \
    --with-openssl="$WORK/openssl" --with-ssl-default-suites=openssl --with-mimalloc --with-computed-gotos \
    --enable-ipv6 ac_cv_file__dev_ptmx=yes ac_cv_file__dev_ptc=no ac_cv_buggy_getaddrinfo=no \
    ac_cv_working_tzset=yes ac_cv_working_openssl_ssl=yes ac_cv_working_openssl_hashlib=yes $ABSENT
# zig's linker does not know -h, nor a library made of nothing but another, libpython3.so.
sed -i 's/-Wl,-h\\$(INSTSONAME)/-Wl,-soname,$(INSTSONAME)/' Makefile
make -j"$JOBS" PY3LIBRARY= libpython3.13.so python
make pybuilddir.txt
mkdir -p "$OUT/bin" "$OUT/lib" "$OUT/include/python3.13"
cp python "$OUT/bin/python3.13"
cp libpython3.13.so.1.0 "$OUT/lib"
cp Modules/config.c "$OUT"
cp -R "$SOURCE/source/Include/." pyconfig.h "$OUT/include/python3.13"
cp -R "$SOURCE/source/Lib" "$OUT/lib/python3.13"
rm -r "$OUT/lib/python3.13/test" "$OUT/lib/python3.13/idlelib"
mkdir "$OUT/lib/python3.13/lib-dynload"
cp "$(cat pybuilddir.txt)"/_sysconfigdata*.py "$OUT/lib/python3.13"
"""


@dataclass(frozen=True)
class SharedPython:
    """*prefix* has ``bin``, ``lib`` and ``include`` as an installation has; *stdlib* is the sources' own folder."""

    target: Target
    pin: DebianPin
    prefix: Path
    stdlib: Path
    libraries: tuple[Library, ...]
    step: Step

    @property
    def program(self) -> Path:
        return self.prefix / "bin/python3.13"

    @property
    def library(self) -> Path:
        return self.prefix / "lib" / LIBRARY

    @property
    def include(self) -> Path:
        return self.prefix / "include/python3.13"

    @property
    def version(self) -> str:
        return self.pin.upstream_version

    @cached_property
    def builtins(self) -> tuple[str, ...]:
        """Its own modules in C, all of them parts of the library."""
        table = (self.prefix / "config.c").read_text().partition("_PyImport_Inittab[]")[2]
        return tuple(re.findall(r'\{"(\w+)", \w+\}', table))

    @property
    def suffix(self) -> str:
        """Of the file names of modules in C."""
        return f".cpython-313-{self.target.host}.so"


def shared_python(store: Store, architecture: Architecture) -> SharedPython:
    target = Target(architecture, "gnu.{}.{}".format(*GLIBC))
    pin, source = Shelf(store).debian("python3.13")
    libraries = {
        "OPENSSL": openssl(store, target),
        "SQLITE": sqlite(store, target),
        "ZLIB": zlib(store, target),
        "LIBFFI": libffi(store, target),
    }
    toolset = tools(store, target)
    absent = [module for module in ABSENT if module != "_ctypes"]
    step = store.recipe(
        f"python-{target.triple}",
        SHARED,
        uses={"SOURCE": source, **{name: library.step for name, library in libraries.items()}},
        settings={
            **toolset.settings,
            "COMPILE_FLAGS": " ".join(target.compile_flags),
            "LINK_FLAGS": " ".join(target.link_flags),
            "HOST": target.host,
            "ABSENT": " ".join(f"py_cv_module_{module}=n/a" for module in absent),
        },
        unkeyed={"HOST_PYTHON": str(host_python(store))},  # of the same source, which is in the key
        path=(toolset.folder,),
        does="compiles the interpreter as a shared library",
    )
    return SharedPython(
        target=target,
        pin=pin,
        prefix=step.folder,
        stdlib=source.folder / "source/Lib",
        libraries=tuple(libraries.values()),
        step=step,
    )


def runner(store: Store) -> SharedPython:
    """The one that runs here. Raises `BuildFailed` on a machine that no bundle is for."""
    machine = os.uname().machine
    for architecture in ARCHITECTURES:
        if architecture == machine:
            return shared_python(store, architecture)
    raise BuildFailed(f"bundles are made on {' and '.join(ARCHITECTURES)}; this machine is {machine}")
