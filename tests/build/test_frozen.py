"""Bytecode as it goes into the executable."""

from __future__ import annotations

import ast
import marshal
import os
import re
import subprocess
import sys
import zipfile
import zipimport
import zlib
from pathlib import Path

import pytest

from build.binary import frozen
from build.binary.contents import Module

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
SOURCE = '''"""About this module."""

from __future__ import annotations


class Empty:
    """Nothing else is in it."""


def half(number):
    """Of an even number."""
    assert number % 2 == 0, "odd"
    return number // 2


def nothing():
    """Only says so."""
'''
HALF = Module("maths.half", SOURCE.encode(), False, "maths")


def run(code: bytes) -> dict[str, object]:
    space: dict[str, object] = {"__name__": "maths.half"}
    exec(marshal.loads(code), space)
    return space


def test_docstrings_go_and_asserts_stay() -> None:
    space = run(frozen.code_of(HALF, docstrings=False))
    half = space["half"]
    assert callable(half)
    assert half.__doc__ is space["Empty"].__doc__ is space.get("__doc__") is None
    assert half(4) == 2
    with pytest.raises(AssertionError, match="odd"):
        half(3)
    assert space["nothing"]() is None  # type: ignore[operator]


def test_docstrings_that_something_reads_are_kept() -> None:
    assert run(frozen.code_of(HALF, docstrings=True))["__doc__"] == "About this module."


def test_a_string_that_is_no_docstring_stays() -> None:
    tree = ast.parse("def f():\n    x = 1\n    'not one'\n    return 'kept'\n")
    frozen.without_docstrings(tree)
    assert "not one" in ast.unparse(tree)
    assert "kept" in ast.unparse(tree)


def test_a_traceback_names_the_module_and_the_line() -> None:
    half = run(frozen.code_of(HALF, docstrings=False))["half"]
    assert half.__code__.co_filename == "<maths/half.py>"  # type: ignore[attr-defined]
    assert half.__code__.co_firstlineno == 10  # type: ignore[attr-defined]
    assert Module("maths", b"", True, "maths").file == "<maths/__init__.py>"


def freeze(folder: Path) -> dict[str, bytes]:
    """In a process of its own, as the build does; hashes of strings are other ones in each."""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "random"}
    places = [str(Path(os.__file__).parent), site, str(ROOT), str(folder)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *places], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return freeze(tmp_path_factory.mktemp("made"))


# Of this machine's Python, whatever its version: the modules that it has under the names of the list.
PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from build.binary import contents, frozen
library, packages, product, folder = map(Path, sys.argv[1:])
listed = replace(contents.read(), by_name=("importlib._bootstrap", "importlib._bootstrap_external", "zipimport"),
                 start=("moltbot_edge.core.errors",), plugins=("json",), instead={}, edits={})
without = dict.fromkeys(("typing_extensions", "starlette", "uvicorn", "click"), "")
listed = replace(listed, exclude={**listed.exclude, **without})
frozen.freeze(listed, contents.select(listed, library, packages, product), folder)
"""


def thawed(packed: bytes, dictionary: bytes) -> bytes:
    """As launcher/thaw.c does it."""
    if not packed.startswith(frozen.DEFLATED):
        return packed
    code = zlib.decompressobj(-zlib.MAX_WBITS, dictionary).decompress(packed[5:])
    assert len(code) == int.from_bytes(packed[1:5], "little")
    return code


def test_deflated_code_is_the_same_again_and_no_code_looks_like_it() -> None:
    code = frozen.code_of(HALF, docstrings=True)
    packed = frozen.deflated(code, b"def half(number): ")
    assert len(packed) < len(code)
    assert thawed(packed, b"def half(number): ") == code
    assert not code.startswith(frozen.DEFLATED)


def test_the_same_input_gives_the_same_bytes(made: dict[str, bytes], tmp_path: Path) -> None:
    assert freeze(tmp_path / "again") == made


def test_the_table_points_at_each_modules_code(made: dict[str, bytes]) -> None:
    table, (blob,) = made["table.c"].decode(), [data for name, data in made.items() if name.endswith(".bin")]
    assert b"frozen-" in made["blob.S"]
    rows = [
        line.strip(" {},").replace('"', "").replace("frozen_blob + ", "").split(", ")
        for line in table.splitlines()
        if line.startswith("    {") and "frozen_blob + " in line
    ]
    assert [row[0] for row in rows[:3]] == list(frozen.BOOTSTRAP)
    assert rows[3][0] == "moltbot_edge", "what a start imports comes first"
    begin, length = (int(number) for number in re.findall(r"frozen_dictionary.* (\d+);", table))
    deflated = set()
    for name, offset, size, _ in rows:
        packed = blob[int(offset) : int(offset) + int(size)]
        code = marshal.loads(thawed(packed, blob[begin : begin + length]))
        if packed.startswith(frozen.DEFLATED):
            deflated.add(name)
        original = frozen.BOOTSTRAP.get(name, name)
        shown = {f"<frozen {original}>", *(f"<{original.replace('.', '/')}{end}>" for end in (".py", "/__init__.py"))}
        assert code.co_filename in shown
    assert length == frozen.WINDOW_BYTES
    assert deflated >= {"json", "moltbot_edge.cli.main"}, "what a start need not import"
    assert not deflated & {*frozen.BOOTSTRAP, "moltbot_edge", "moltbot_edge.core.errors"}
    assert {"json", "json.decoder", "moltbot_edge._contents", "moltbot_edge.cli.main"} <= {row[0] for row in rows}


def test_an_archive_after_the_executable_is_read_where_it_lies_and_is_the_same_each_time(tmp_path: Path) -> None:
    files = {"certifi/cacert.pem": b"-----BEGIN" * 100, "licences/x.txt": b"permission is hereby granted " * 50}
    made = []
    for name in ("one", "two"):
        executable = tmp_path / name
        executable.write_bytes(b"\x7fELF and so on" * 1000)
        frozen.archive(executable, files)
        made.append(executable.read_bytes())
        assert zipimport.zipimporter(str(executable)).get_data("certifi/cacert.pem") == files["certifi/cacert.pem"]
    assert made[0] == made[1]
    with zipfile.ZipFile(executable) as read:
        assert read.testzip() is None
        assert read.read("licences/x.txt") == files["licences/x.txt"]
