"""The one list: it fits the project, and what follows from it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from build.binary import contents
from build.binary.contents import Contents, WrongContents

ROOT = Path(__file__).parents[2]
LISTED = contents.read()


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def listed(**changes: object) -> Contents:
    bare = Contents(
        product="house",
        packages=(),
        by_name=(),
        start=(),
        docstrings=(),
        plugins=(),
        exclude={},
        instead={},
        edits={},
        data={},
    )
    return replace(bare, **changes)  # type: ignore[arg-type]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A standard library, installed packages and a product, each of a few lines."""
    return (
        tree(
            tmp_path / "library",
            {"glob.py": "import _c\ndef later():\n    import rare\n", "rare.py": "", "left.py": ""},
        ),
        tree(tmp_path / "packages", {"paint/__init__.py": "import left", "paint/red.py": "", "brush.py": ""}),
        tree(tmp_path / "product", {"house/__init__.py": "", "house/door.py": "import glob", "other/__init__.py": ""}),
    )


def names(listed: Contents, places: tuple[Path, Path, Path]) -> list[str]:
    return [module.name for module in contents.select(listed, *places).modules]


def test_every_dependency_of_the_project_is_in_the_list() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert contents.unlisted(LISTED, project["dependencies"]) == []


def test_a_dependency_that_is_not_in_the_list_is_named() -> None:
    assert contents.unlisted(LISTED, ["click>=8", "new-one[extra]>=2; python_version>'3'"]) == ["new-one"]


def test_every_package_is_pinned_by_hash_for_each_machine_or_for_any() -> None:
    for package in LISTED.packages:
        assert set(package.sha256) in ({"any"}, {"x86_64", "aarch64"}), package.name
        assert all(len(digest) == 64 for digest in package.sha256.values()), package.name
        assert package.licence


def test_data_come_from_packages_of_the_list() -> None:
    known = {package.name for package in LISTED.packages}
    assert set(LISTED.data.values()) <= known


def test_what_is_promised_to_plugins_is_of_the_standard_library_once_and_in_order() -> None:
    assert {name.partition(".")[0] for name in LISTED.plugins} <= sys.stdlib_module_names
    assert list(LISTED.plugins) == sorted(set(LISTED.plugins))
    assert not [name for name in LISTED.plugins if LISTED.excluded(name)]


def test_a_bundle_promises_more_and_says_so() -> None:
    bundled = LISTED.for_bundle()
    assert set(bundled.plugins) == {*LISTED.plugins, *LISTED.bundle}
    assert not set(LISTED.plugins) & set(LISTED.bundle)
    assert not [name for name in bundled.plugins if bundled.excluded(name)]
    assert {name.partition(".")[0] for name in LISTED.bundle} <= sys.stdlib_module_names


def test_the_executable_can_say_what_it_promises() -> None:
    said: dict[str, object] = {}
    exec(LISTED.generated(), said)
    assert said["PLUGIN_MODULES"] == LISTED.plugins


def test_the_whole_product_goes_in_and_of_the_rest_what_it_reaches(places: tuple[Path, Path, Path]) -> None:
    found = names(listed(), places)
    assert sorted(found) == ["glob", "house", "house.door", "moltbot_edge._contents", "rare"]


def test_what_a_start_imports_at_once_comes_first(places: tuple[Path, Path, Path]) -> None:
    selection = contents.select(listed(start=("house.door",)), *places)
    assert [module.name for module in selection.modules[: selection.at_start]] == ["house", "glob", "house.door"]


def test_names_without_python_source_are_those_of_modules_in_c(places: tuple[Path, Path, Path]) -> None:
    assert contents.select(listed(plugins=("math",)), *places).compiled >= {"_c", "math"}


def test_an_excluded_module_and_what_only_it_needs_stay_out(places: tuple[Path, Path, Path]) -> None:
    paint = contents.Package("paint", "1", "MIT", "paint", {"any": ""})
    with_paint = listed(packages=(paint,), by_name=("paint.red",))
    assert {"paint", "paint.red", "left"} <= set(names(with_paint, places))
    assert "left" not in names(replace(with_paint, exclude={"left": "why"}), places)
    assert "brush" not in names(with_paint, places)


def test_a_module_with_another_text_imports_what_that_says(places: tuple[Path, Path, Path]) -> None:
    assert "rare" not in names(listed(instead={"glob": "import left"}), places)
    assert "left" in names(listed(instead={"glob": "import left"}), places)


def test_a_line_that_is_edited_has_to_be_there(places: tuple[Path, Path, Path]) -> None:
    assert "rare" not in names(listed(edits={"glob": ("import rare", "pass")}), places)
    with pytest.raises(WrongContents, match="a line of glob that is in it 0 times: import nothing"):
        names(listed(edits={"glob": ("import nothing", "pass")}), places)


def test_the_edited_pattern_of_yaml_finds_the_same_characters() -> None:
    before, after = (re.compile(ast.literal_eval(line[line.index("'") : -1])) for line in LISTED.edits["yaml.reader"])
    characters = [chr(number) for number in range(sys.maxunicode + 1)]
    assert [one for one in characters if bool(before.search(one)) != bool(after.search(one))] == []


def test_a_list_that_contradicts_itself_or_names_nothing_is_refused(places: tuple[Path, Path, Path]) -> None:
    with pytest.raises(WrongContents, match="excludes rare and asks for it"):
        names(listed(by_name=("rare",), exclude={"rare": "why"}), places)
    with pytest.raises(WrongContents, match=r"names house\.window, which is in none"):
        names(listed(by_name=("house.window",)), places)
    with pytest.raises(WrongContents, match=r"house\.door"):
        names(listed(exclude={"house.door": "why"}), places)


def test_docstrings_are_kept_below_a_named_package() -> None:
    assert LISTED.keeps_docstrings("moltbot_edge.cli.serve")
    assert not LISTED.keeps_docstrings("moltbot_edge.client")
