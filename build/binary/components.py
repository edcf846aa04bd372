"""What an executable or a bundle is made of, as components of its SBOM, and the licence texts that have to go with it.

Versions come from where they are true: pins, the one list, and for what others bring along, their own headers.
"""

from __future__ import annotations

import ast
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from build.binary.contents import STANDARD_LIBRARY, Contents
from build.binary.extensions import INITTAB
from build.binary.libraries import Library
from build.binary.pins import DebianPin, package_pin
from build.binary.sbom import Component
from build.binary.sources import Shelf
from build.binary.store import BuildFailed, Store
from build.binary.toolchain import Target, zig


class Interpreter(Protocol):
    """CPython compiled for a target, statically or as a shared library."""

    @property
    def target(self) -> Target: ...
    @property
    def pin(self) -> DebianPin: ...
    @property
    def version(self) -> str: ...
    @property
    def libraries(self) -> Sequence[Library]: ...


@dataclass(frozen=True)
class Brought:
    """A library inside another's sources. *version* are patterns in *header*, one for each number of it."""

    name: str
    licence: str
    header: str
    version: tuple[str, ...]
    texts: tuple[str, ...] = ()
    cpe: str | None = None


IN_CPYTHON: Final = (
    Brought(
        "expat",
        "MIT",
        "Modules/expat/expat.h",
        tuple(rf"define XML_{part}_VERSION (\d+)" for part in ("MAJOR", "MINOR", "MICRO")),
        ("Modules/expat/COPYING",),
        "cpe:2.3:a:libexpat_project:libexpat:{}:*:*:*:*:*:*:*",
    ),
    Brought(
        "hacl-star",
        "MIT",
        "Modules/_hacl/refresh.sh",
        (r"expected_hacl_star_rev=(\w+)",),
        ("Modules/_hacl/Hacl_Streaming_Types.h",),  # with the licence at its beginning
    ),
    Brought("libb2", "CC0-1.0", "Misc/sbom.spdx.json", (r"cpe:2\.3:a:blake2:libb2:([\d.]+):",)),
    Brought(
        "mimalloc",
        "MIT",
        "Include/internal/mimalloc/mimalloc.h",
        tuple(rf"define MI_MALLOC_VERSION {digits}" for digits in (r"(\d)\d\d", r"\d(\d)\d", r"\d\d(\d)")),
    ),
    Brought("mpdecimal", "BSD-2-Clause", "Modules/_decimal/libmpdec/mpdecimal.h", (r'define MPD_VERSION "([\d.]+)"',)),
)
IN_SDISTS: Final = {
    "httptools": (
        Brought(
            "llhttp",
            "MIT",
            "vendor/llhttp/include/llhttp.h",
            tuple(rf"define LLHTTP_VERSION_{part} (\d+)" for part in ("MAJOR", "MINOR", "PATCH")),
            ("vendor/llhttp/LICENSE",),
        ),
        Brought(
            "http-parser",
            "MIT",
            "vendor/http-parser/http_parser.h",
            tuple(rf"define HTTP_PARSER_VERSION_{part} (\d+)" for part in ("MAJOR", "MINOR", "PATCH")),
            ("vendor/http-parser/LICENSE-MIT",),
        ),
    ),
    "uvloop": (
        Brought(
            "libuv",
            "MIT",
            "vendor/libuv/include/uv/version.h",
            tuple(rf"define UV_VERSION_{part} (\d+)" for part in ("MAJOR", "MINOR", "PATCH")),
            ("vendor/libuv/LICENSE",),
            "cpe:2.3:a:libuv:libuv:{}:*:*:*:*:*:*:*",
        ),
    ),
}
MUSL: Final = Brought(
    "musl",
    "MIT",
    "lib/libc/musl/src/internal/version.h",
    (r'VERSION "([\d.]+)"',),
    ("lib/libc/musl/COPYRIGHT",),
    "cpe:2.3:a:musl-libc:musl:{}:*:*:*:*:*:*:*",
)
# Of Debian's source packages, where the licence's text lies, and what vulnerability databases call it.
DEBIAN_TEXTS: Final = {
    "python3.13": ("LICENSE", "Doc/license.rst"),
    "libffi": ("LICENSE",),
    "openssl": ("LICENSE.txt",),
    "sqlite3": ("LICENSE.md",),
    "zlib": ("LICENSE",),
}
CPES: Final = {
    "python3.13": "cpe:2.3:a:python:python:{}:*:*:*:*:*:*:*",
    "libffi": "cpe:2.3:a:libffi_project:libffi:{}:*:*:*:*:*:*:*",
    "openssl": "cpe:2.3:a:openssl:openssl:{}:*:*:*:*:*:*:*",
    "sqlite3": "cpe:2.3:a:sqlite:sqlite:{}:*:*:*:*:*:*:*",
    "zlib": "cpe:2.3:a:zlib:zlib:{}:*:*:*:*:*:*:*",
}


def product(root: Path, modules: Iterable[Mapping[str, Any]]) -> Component:
    """moltbot-edge itself, by what its source says of it. *modules* are the rows of a freeze."""
    tree = ast.parse((root / "moltbot_edge/__init__.py").read_text())
    (version,) = (
        ast.literal_eval(statement.value)
        for statement in tree.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__version__"
    )
    own = [row["name"] for row in modules if row["origin"] == "moltbot_edge"]
    return Component("moltbot-edge", version, "Apache-2.0", kind="application", modules=own)


def of(
    store: Store, listed: Contents, python: Interpreter, modules: Sequence[Mapping[str, Any]], builtins: Iterable[str]
) -> list[Component]:
    """Everything inside. *modules* are the rows of a freeze, *builtins* CPython's own modules in C."""
    by_origin: dict[str, list[str]] = defaultdict(list)
    for row in modules:
        by_origin[row["origin"]].append(row["name"])
    found = [
        Component(
            pin.title,
            pin.upstream_version,
            pin.licence,
            purl=f"pkg:deb/debian/{pin.name}@{quote(pin.version)}?arch=source",
            cpe=CPES[pin.name].format(pin.upstream_version),
            modules=by_origin[STANDARD_LIBRARY] if pin is python.pin else (),
            compiled=tuple(builtins) if pin is python.pin else (),
        )
        for pin in _pins(python)
    ]
    found += [
        Component(
            package.name,
            package.version,
            package.licence,
            purl=package.purl,
            modules=by_origin[package.name],
            compiled=[name for name in INITTAB if name.partition(".")[0] == package.module],
        )
        for package in listed.packages
        if by_origin[package.name] or package.name in listed.data.values()
    ]
    compiler_rt = package_pin("zig", os.uname().machine)
    found.append(
        Component(
            "compiler-rt",
            f"zig-{compiler_rt.version}",
            "MIT",
            purl=f"pkg:pypi/{compiler_rt.name}@{compiler_rt.version}",
        )
    )
    found += [_component(one, folder, part_of) for part_of, folder, one in _brought(store, python)]
    return found


def licence_texts(store: Store, listed: Contents, python: Interpreter, packages: Path) -> dict[str, bytes]:
    """``licences/NAME.txt`` -> the text: their conditions are that a copy goes with what is made from them."""
    found = {"moltbot-edge": [Path(__file__).parents[2] / "LICENSE"]}
    for package in listed.packages:
        infos = [path for path in packages.glob("*.dist-info") if _canonical(path.name) == _canonical(package.name)]
        found[package.name] = [
            path
            for info in infos
            for path in sorted(info.rglob("*"))
            if re.search(r"LICEN[CS]E|COPYING|NOTICE", path.name)
        ]
    for pin in _pins(python):
        _, source = Shelf(store).debian(pin.name)
        found[pin.title] = [source.folder / "source" / name for name in DEBIAN_TEXTS[pin.name]]
    for _, folder, one in _brought(store, python):
        if one.texts:
            found[one.name] = [folder / name for name in one.texts]
    found["compiler-rt"] = [zig(store).folder / "ziglang/LICENSE"]
    return {
        f"licences/{name}.txt": b"\n\n".join(path.read_bytes() for path in paths if path.is_file())
        for name, paths in sorted(found.items())
    }


def _pins(python: Interpreter) -> list[DebianPin]:
    return [python.pin, *(library.pin for library in python.libraries)]


def _brought(store: Store, python: Interpreter) -> Iterator[tuple[str | None, Path, Brought]]:
    """What came inside another's sources: the component that brought it, and the folder that those are unpacked in."""
    _, cpython = Shelf(store).debian(python.pin.name)
    for one in IN_CPYTHON:
        yield python.pin.title, cpython.folder / "source", one
    for name, brought in IN_SDISTS.items():
        folder = Shelf(store).sdist(package_pin("sdist", name)).folder
        for one in brought:
            yield name, folder, one
    if python.target.static:
        yield None, zig(store).folder / "ziglang", MUSL


def _component(one: Brought, folder: Path, part_of: str | None) -> Component:
    text = (folder / one.header).read_text()
    numbers = [re.search(pattern, text) for pattern in one.version]
    if None in numbers:
        raise BuildFailed(f"{folder / one.header} no longer says the version of {one.name} as components.py reads it")
    version = ".".join(number[1] for number in numbers if number)
    return Component(one.name, version, one.licence, cpe=one.cpe and one.cpe.format(version), part_of=part_of)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.removesuffix(".dist-info").partition("-")[0]).lower()
