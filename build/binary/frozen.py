"""Bytecode of every selected module as one blob inside the executable, with the table by which CPython finds it.

Run by the interpreter whose bytecode it makes, the one that is built for this machine from the target's own source
(``python -m build.binary.frozen``): bytecode is the same on every machine, but not in every version. Docstrings go,
assert statements stay. What a start imports lies as it is, the rest deflated, to be made whole when it is imported
(launcher/thaw.c). The same input gives the same bytes.

Source: CPython's Python/frozen.c, whose symbols `TABLE` defines in its place, so that the library's own copies of the
standard modules are not linked.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import marshal
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from build.binary import contents
from build.binary.contents import Contents, Module, Selection

ALIGNMENT: Final = 16
# For the interpreter that writes it. Columns serve to underline a line of source in a traceback, and there is none.
OPTIONS: Final = ("-X", "no_debug_ranges")
# What runs before the import system does, under the names that the import system knows.
BOOTSTRAP: Final = {
    "_frozen_importlib": "importlib._bootstrap",
    "_frozen_importlib_external": "importlib._bootstrap_external",
    "zipimport": "zipimport",
}
# Before a deflated module: a letter with which no code object's bytes begin, and how long those are, in four bytes.
DEFLATED: Final = b"D"
WINDOW_BYTES: Final = 32 * 1024  # how far deflate looks back
ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say

BLOB: Final = """\
        .section .rodata.frozen_blob, "a", %progbits
        .balign 4096
        .globl frozen_blob
frozen_blob:
        .incbin "{name}"
        .globl frozen_blob_end
frozen_blob_end:
        .section .note.GNU-stack, "", %progbits
"""

TABLE: Final = """\
#include <Python.h>

extern const unsigned char frozen_blob[];
const unsigned char *const frozen_dictionary = frozen_blob + {dictionary};
const unsigned int frozen_dictionary_size = {dictionary_size};

static const struct _frozen bootstrap[] = {{
{bootstrap}    {{0, 0, 0, 0}}
}};
static const struct _frozen modules[] = {{
{modules}    {{0, 0, 0, 0}}
}};
static const struct _frozen none[] = {{{{0, 0, 0, 0}}}};

struct _module_alias {{
    const char *name;
    const char *orig;
}};
static const struct _module_alias aliases[] = {{
{aliases}    {{0, 0}}
}};

const struct _frozen *_PyImport_FrozenBootstrap = bootstrap;
const struct _frozen *_PyImport_FrozenStdlib = modules;
const struct _frozen *_PyImport_FrozenTest = none;
const struct _module_alias *_PyImport_FrozenAliases = aliases;
const struct _frozen *PyImport_FrozenModules = NULL;
"""


@dataclass(frozen=True)
class Row:
    """Where a module's bytecode lies in the blob, and how long it is there."""

    name: str
    origin: str
    offset: int
    size: int
    is_package: bool


def code_of(module: Module, *, docstrings: bool, file: str | None = None) -> bytes:
    """The bytecode of *module*, marshalled. With ``optimize=0``: asserts stay and ``__debug__`` is true."""
    tree = ast.parse(module.source)
    if not docstrings:
        without_docstrings(tree)
    compiled = compile(tree, file or module.file, "exec", dont_inherit=True, optimize=0)
    return marshal.dumps(compiled)


def without_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if ast.get_docstring(node, clean=False) is None:
            continue
        first = node.body.pop(0)
        if not node.body and not isinstance(node, ast.Module):
            node.body.append(ast.copy_location(ast.Pass(), first))


def freeze(listed: Contents, selection: Selection, folder: Path) -> list[Row]:
    """Write the blob, ``blob.S`` and ``table.c`` into *folder*; in the rows, `BOOTSTRAP` comes first.

    The blob's name has its hash: zig's cache knows a file that ``.incbin`` reads by its name only, and would link an
    old one.
    """
    blob = bytearray()
    sources = {module.name: module for module in selection.modules}
    bootstrap: list[Row] = []
    for name, original in BOOTSTRAP.items():
        code = code_of(sources[original], docstrings=False, file=f"<frozen {original}>")
        bootstrap.append(_append(blob, replace(sources[original], name=name), code))
    rows: list[Row] = []
    dictionary = slice(0, 0)
    for place, module in enumerate(selection.modules):
        if place == selection.at_start:
            dictionary = slice(max(0, len(blob) - WINDOW_BYTES), len(blob))
        if module.name in BOOTSTRAP.values():
            continue
        code = code_of(module, docstrings=listed.keeps_docstrings(module.name))
        rows.append(_append(blob, module, code if place < selection.at_start else deflated(code, blob[dictionary])))
    name = f"frozen-{hashlib.sha256(blob).hexdigest()[:16]}.bin"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(blob)
    (folder / "blob.S").write_text(BLOB.format(name=name))
    (folder / "table.c").write_text(
        TABLE.format(
            dictionary=dictionary.start,
            dictionary_size=dictionary.stop - dictionary.start,
            bootstrap=_entries(bootstrap),
            modules=_entries(rows),
            aliases="".join(f'    {{"{name}", "{original}"}},\n' for name, original in BOOTSTRAP.items()),
        )
    )
    return [*bootstrap, *rows]


def deflated(code: bytes, dictionary: bytes | bytearray) -> bytes:
    """*code* as launcher/thaw.c reads it: to a third. *dictionary* is bytecode that the reader has before it: much of
    what every module has need not be said again, which is worth a twelfth."""
    # Without zlib's own header and sum: what is not deflated has none either.
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY, bytes(dictionary))
    return DEFLATED + len(code).to_bytes(4, "little") + packer.compress(code) + packer.flush()


def archive(path: Path, files: Mapping[str, bytes]) -> None:
    """Append *files* to the executable *path* as a zip, whose bytes depend on nothing but names and contents."""
    with zipfile.ZipFile(path, "a") as appended:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, ZIP_TIME)
            entry.external_attr = 0o644 << 16
            appended.writestr(entry, data, zipfile.ZIP_DEFLATED, compresslevel=9)


def _append(blob: bytearray, module: Module, code: bytes) -> Row:
    blob.extend(bytes(-len(blob) % ALIGNMENT))
    row = Row(module.name, module.origin, len(blob), len(code), module.is_package)
    blob.extend(code)
    return row


def _entries(rows: Iterable[Row]) -> str:
    return "".join(
        f'    {{"{row.name}", frozen_blob + {row.offset}, {row.size}, {int(row.is_package)}}},\n' for row in rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Freeze the modules of contents.toml into FOLDER.")
    for name in ("library", "packages", "product", "folder"):
        parser.add_argument(name, type=Path)
    asked = parser.parse_args()
    listed = contents.read()
    selection = contents.select(listed, asked.library, asked.packages, asked.product)
    rows = freeze(listed, selection, asked.folder)
    report = {"modules": [asdict(row) for row in rows], "compiled": sorted(selection.compiled)}
    (asked.folder / "frozen.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
