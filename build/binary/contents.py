"""The one list of what goes into the executable: `contents.toml` as values, and the modules that follow from it.

It says what, not how: `frozen` makes bytecode of it for the static executable, `bundle` hands it to PyInstaller. The
reason for each entry stands in the list itself.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from build.binary.imports import Imports, closure, imports_of

LIST: Final = Path(__file__).with_name("contents.toml")
GENERATED: Final = "moltbot_edge._contents"  # what the executable knows of its own contents
ANY_MACHINE: Final = "any"
STANDARD_LIBRARY: Final = "cpython"


class WrongContents(Exception):
    """The list and what it is about do not fit; the message says which entry and what to do."""


@dataclass(frozen=True)
class Package:
    """*module* is its one top-level name; *sha256* that of its wheel by machine, or of `ANY_MACHINE`."""

    name: str
    version: str
    licence: str
    module: str
    sha256: Mapping[str, str]

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def purl(self) -> str:
        # purl-spec, pypi: lower case, underscores become dashes.
        return f"pkg:pypi/{self.name.lower().replace('_', '-')}@{self.version}"


@dataclass(frozen=True)
class Contents:
    product: str
    packages: tuple[Package, ...]
    by_name: tuple[str, ...]
    start: tuple[str, ...]
    docstrings: tuple[str, ...]
    plugins: tuple[str, ...]
    exclude: Mapping[str, str]
    instead: Mapping[str, str]
    edits: Mapping[str, tuple[str, str]]
    data: Mapping[str, str]
    bundle: tuple[str, ...] = ()

    def for_bundle(self) -> Contents:
        """As this one, with what a bundle has besides: promised to plug-ins there, and no longer excluded."""
        return replace(
            self,
            plugins=tuple(sorted({*self.plugins, *self.bundle})),
            exclude={name: why for name, why in self.exclude.items() if name not in self.bundle},
        )

    def excluded(self, module: str) -> bool:
        return any(name in self.exclude for name in _with_parents(module))

    def keeps_docstrings(self, module: str) -> bool:
        return any(name in self.docstrings for name in _with_parents(module))

    def generated(self) -> str:
        """The text of `GENERATED`."""
        listed = "".join(f"    {name!r},\n" for name in self.plugins)
        return f"PLUGIN_MODULES: tuple[str, ...] = (\n{listed})\n"


@dataclass(frozen=True)
class Module:
    """One Python module that goes in. *origin* is `STANDARD_LIBRARY`, a package's name or the product's."""

    name: str
    source: bytes
    is_package: bool
    origin: str

    @property
    def file(self) -> str:
        """What a traceback shows; in angle brackets, so that nobody looks for it on the disk."""
        return f"<{self.name.replace('.', '/')}{'/__init__' if self.is_package else ''}.py>"


@dataclass(frozen=True)
class Selection:
    """*modules* are in the blob's order: what a start imports comes first. *compiled* are the names that no Python
    source has and that something imports: modules in C, those of other systems, and plain attributes."""

    modules: tuple[Module, ...]
    compiled: frozenset[str]
    at_start: int


def read(path: Path = LIST) -> Contents:
    table = tomllib.loads(path.read_text())
    packages = tuple(_package(entry) for entry in table["package"])
    return Contents(
        product=table["product"],
        packages=packages,
        by_name=tuple(table["by_name"]),
        start=tuple(table["start"]),
        docstrings=tuple(table["docstrings"]),
        plugins=tuple(table["plugins"]),
        exclude=table["exclude"],
        instead=table["instead"],
        edits={module: (edit["from"], edit["to"]) for module, edit in table["edit"].items()},
        data=table["data"],
        bundle=tuple(table["bundle"]),
    )


def select(contents: Contents, library: Path, packages: Path, product: Path) -> Selection:
    """The modules that go in, from CPython's *library* folder, the folder where *packages* are installed, and the
    folder that holds the *product*'s package.

    Raises `WrongContents` for a name of the list that is nowhere, or is excluded and asked for at once.
    """
    found = _sources(contents, library, packages, product)
    own = [name for name, module in found.items() if module.origin == contents.product]

    @functools.cache
    def imports(name: str) -> Imports | None:
        return None if name not in found or contents.excluded(name) else _imports(found[name])

    roots = [*own, *contents.by_name, *(name for name in contents.plugins if name in found)]
    for name in (*roots, *contents.start):
        if contents.excluded(name):
            raise WrongContents(f"contents.toml excludes {name} and asks for it")
        if name not in found:
            raise WrongContents(f"contents.toml names {name}, which is in none of {library}, {packages}, {product}")
    start = closure(contents.start, lambda name: (one := imports(name)) and one.at_start)
    everything = closure(roots, lambda name: (one := imports(name)) and one.at_start | one.later)
    missing = [name for name in own if name not in everything]
    if missing:
        raise WrongContents(f"contents.toml excludes modules of the product: {', '.join(missing)}")
    hot = set(start)
    names = [*start, *sorted(name for name in everything if name not in hot)]
    mentioned = {
        *contents.plugins,
        *(wanted for name in names if (one := imports(name)) for part in one for wanted in part),
    }
    return Selection(
        modules=tuple(found[name] for name in names),
        compiled=frozenset(name for name in mentioned if name not in found and not contents.excluded(name)),
        at_start=len(start),
    )


def unlisted(contents: Contents, dependencies: Iterable[str]) -> list[str]:
    """Those of *dependencies*, as pyproject.toml writes them, that the list has no package for."""
    listed = {_canonical(package.name) for package in contents.packages}
    names = [re.split(r"[\s<>=!~\[;(@]", dependency, maxsplit=1)[0] for dependency in dependencies]
    return [name for name in names if _canonical(name) not in listed]


def _package(entry: Mapping[str, Any]) -> Package:
    sha256 = entry["sha256"]
    return Package(
        name=entry["name"],
        version=entry["version"],
        licence=entry["licence"],
        module=entry["module"],
        sha256={ANY_MACHINE: sha256} if isinstance(sha256, str) else sha256,
    )


def _sources(contents: Contents, library: Path, packages: Path, product: Path) -> dict[str, Module]:
    found: dict[str, Module] = {}
    for folder, origin, top in (
        (library, STANDARD_LIBRARY, None),
        *((packages, package.name, package.module) for package in contents.packages),
        (product, contents.product, contents.product),
    ):
        for module in _in_folder(folder, origin, top):
            found[module.name] = module
    for name, text in {**contents.instead, GENERATED: contents.generated()}.items():
        is_package = name in found and found[name].is_package
        origin = found[name].origin if name in found else contents.product
        found[name] = Module(name, text.lstrip().encode(), is_package, origin)
    for name, (before, after) in contents.edits.items():
        if name in found:
            found[name] = replace(found[name], source=_edited(found[name], before, after))
    return found


def _edited(module: Module, before: str, after: str) -> bytes:
    count = module.source.count(before.encode())
    if count != 1:
        raise WrongContents(f"contents.toml edits a line of {module.name} that is in it {count} times: {before}")
    return module.source.replace(before.encode(), after.encode())


def _in_folder(folder: Path, origin: str, top: str | None) -> Iterable[Module]:
    """Every module in *folder*, or only *top* and what is below it."""
    if top is None:
        paths: Iterable[Path] = folder.rglob("*.py")
    else:
        paths = [*folder.glob(f"{top}.py"), *folder.glob(f"{top}/**/*.py")]
    for path in sorted(paths):
        parts = path.relative_to(folder).with_suffix("").parts
        # site-packages and lib-dynload, tests with broken code in them, and what is a script.
        if not all(part.isidentifier() for part in parts) or (top is None and "test" in parts):
            continue
        is_package = parts[-1] == "__init__"
        names = parts[:-1] if is_package else parts
        if names:
            yield Module(".".join(names), path.read_bytes(), is_package, origin)


def _imports(module: Module) -> Imports:
    try:
        return imports_of(module.source, module.name, is_package=module.is_package)
    except SyntaxError as error:
        raise WrongContents(f"{module.origin}'s {module.name} does not parse: {error}") from error


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
