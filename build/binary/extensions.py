"""The third-party modules in C, as objects to be linked in: httptools, msgspec and uvloop with its libuv.

Their packages' own build scripts make shared objects and are not used: what is compiled is listed here, after them.
Not here: which of them a file gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from build.binary.interpreter import Python
from build.binary.pins import package_pin
from build.binary.sources import Shelf
from build.binary.store import Store
from build.binary.toolchain import Target, tools

# Dotted names work in CPython's table of built-in modules: its importer looks no further than the whole name.
INITTAB: Final[Mapping[str, str]] = MappingProxyType(
    {
        "httptools.parser.parser": "PyInit_parser",
        "httptools.parser.url_parser": "PyInit_url_parser",
        "msgspec._core": "PyInit__core",
        "uvloop.loop": "PyInit_loop",
    }
)


@dataclass(frozen=True)
class Extension:
    """What of an unpacked source package is compiled: files, and flags in which ``@`` is the package's folder."""

    files: tuple[str, ...]
    flags: tuple[str, ...]


# libuv's own list for Linux, from its CMakeLists.txt.
LIBUV: Final = (
    *("fs-poll", "idna", "inet", "random", "strscpy", "strtok", "thread-common", "threadpool", "timer", "uv-common"),
    *("uv-data-getter-setters", "version", "unix/async", "unix/core", "unix/dl", "unix/fs", "unix/getaddrinfo"),
    *("unix/getnameinfo", "unix/loop-watcher", "unix/loop", "unix/pipe", "unix/poll", "unix/process", "unix/proctitle"),
    *("unix/random-devurandom", "unix/random-getrandom", "unix/random-sysctl-linux", "unix/signal", "unix/stream"),
    *("unix/tcp", "unix/thread", "unix/tty", "unix/udp", "unix/linux", "unix/procfs-exepath"),
)

EXTENSIONS: Final[Mapping[str, Extension]] = MappingProxyType(
    {
        "httptools": Extension(
            files=(
                "httptools/parser/parser.c",
                "httptools/parser/url_parser.c",
                *(f"vendor/llhttp/src/{name}.c" for name in ("llhttp", "api", "http")),
                "vendor/http-parser/http_parser.c",
            ),
            flags=("-I@/vendor/llhttp/include", "-I@/vendor/http-parser", "-O2"),
        ),
        "msgspec": Extension(files=("src/msgspec/_core.c",), flags=("-O2",)),
        "uvloop": Extension(
            files=("uvloop/loop.c", *(f"vendor/libuv/src/{name}.c" for name in LIBUV)),
            flags=(
                "-I@/vendor/libuv/include",
                "-I@/vendor/libuv/src",
                "-I@/uvloop",
                *("-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-D_LARGEFILE_SOURCE", "-D_POSIX_C_SOURCE=200112"),
                "-D_Py_RestoreSignals=uvloop_Py_RestoreSignals",  # it has its own, which CPython's archive has too
                "-O2",
            ),
        ),
    }
)

# Objects are named after the whole path: two files may share a name.
COMPILED: Final = """
cd "$SOURCE"
printf '%s\\n' $FILES | xargs -P "$JOBS" -I FILE sh -euc '
    $CC $COMPILE_FLAGS -DNDEBUG -fno-strict-overflow -fvisibility=hidden -w -I"$PYTHON/include" $FLAGS \
        -c "FILE" -o "$OUT/$(echo "FILE" | tr / -).o"'
"""


def objects(store: Store, python: Python) -> list[Path]:
    """The objects of all of `INITTAB`, compiled for *python*'s target against its headers."""
    return [path for name in EXTENSIONS for path in _objects(store, python, name)]


def _objects(store: Store, python: Python, name: str) -> list[Path]:
    extension, package = EXTENSIONS[name], package_pin("sdist", name)
    target: Target = python.target
    toolset = tools(store, target)
    step = store.recipe(
        f"{name}-{target.triple}",
        COMPILED,
        uses={"SOURCE": Shelf(store).sdist(package), "PYTHON": python.step},
        settings={
            **toolset.settings,
            "COMPILE_FLAGS": " ".join(target.compile_flags),
            "FILES": " ".join(extension.files),
            "FLAGS": " ".join(extension.flags).replace("@", "."),
        },
        path=(toolset.folder,),
        does=f"compiles {package.pinned}",
    )
    return sorted(step.folder.glob("*.o"))
