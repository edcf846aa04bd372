"""What a module's source imports, and what follows from it."""

from __future__ import annotations

from build.binary.imports import closure, imports_of


def of(source: str, name: str = "box.lid", *, is_package: bool = False) -> tuple[set[str], set[str]]:
    found = imports_of(source.encode(), name, is_package=is_package)
    return set(found.at_start), set(found.later)


def test_an_import_in_a_function_comes_later_and_one_in_a_class_or_a_try_at_once() -> None:
    source = """
import a
class C:
    import b
    def method(self):
        import c
try:
    import d
except ImportError:
    import e
"""
    assert of(source) == ({"a", "b", "d", "e"}, {"c"})


def test_what_only_a_type_checker_a_script_or_another_system_imports_is_not_imported() -> None:
    source = """
from typing import TYPE_CHECKING
import sys
if TYPE_CHECKING:
    import a
else:
    import b
if sys.platform == "win32":
    import winreg
elif True:
    import c
if __name__ == "__main__":
    import d
"""
    assert of(source)[0] == {"typing", "typing.TYPE_CHECKING", "sys", "b", "c"}


def test_a_relative_import_is_from_the_package_that_the_module_is_in() -> None:
    source = "from . import rim\nfrom .glass import clear\nfrom ..shelf import board\n"
    assert of(source, "house.box.lid")[0] == {
        "house.box",
        "house.box.rim",
        "house.box.glass",
        "house.box.glass.clear",
        "house.shelf",
        "house.shelf.board",
    }
    assert "house.box.lid.rim" in of(source, "house.box.lid", is_package=True)[0]


def test_a_star_names_the_module_only() -> None:
    assert of("from a.b import *")[0] == {"a.b"}


def test_a_closure_is_in_the_order_of_importing_with_parents_first_and_once_each() -> None:
    edges = {"main": ["box.lid", "nowhere"], "box": ["glue"], "box.lid": ["main", "box"], "glue": [], "other": ["glue"]}
    assert closure(["main"], edges.get) == ["glue", "box", "box.lid", "main"]


def test_a_chain_longer_than_the_recursion_limit_has_a_closure() -> None:
    edges = {f"m{number}": [f"m{number + 1}"] for number in range(5_000)} | {"m5000": []}
    assert len(closure(["m0"], edges.get)) == 5_001
