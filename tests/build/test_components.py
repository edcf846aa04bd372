"""Versions of what others' sources bring along, read where they are written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from build.binary import components
from build.binary.components import Brought
from build.binary.store import BuildFailed

ROOT = Path(__file__).parents[2]
NUMBERS = tuple(rf"define LIB_VERSION_{part} (\d+)" for part in ("MAJOR", "MINOR"))
LIB = Brought("lib", "MIT", "include/lib.h", NUMBERS, cpe="cpe:2.3:a:lib:lib:{}:*:*:*:*:*:*:*")


def test_a_version_is_put_together_from_a_header(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include/lib.h").write_text("#define LIB_VERSION_MAJOR 2\n#define LIB_VERSION_MINOR 17\n")
    found = components._component(LIB, tmp_path, "CPython")
    assert (found.version, found.part_of) == ("2.17", "CPython")
    assert found.cpe == "cpe:2.3:a:lib:lib:2.17:*:*:*:*:*:*:*"


def test_a_header_that_says_it_otherwise_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include/lib.h").write_text('#define LIB_VERSION "2.17"\n')
    with pytest.raises(BuildFailed, match="no longer says the version of lib"):
        components._component(LIB, tmp_path, None)


def test_the_product_has_its_own_version_and_modules() -> None:
    rows = [{"name": "moltbot_edge.api", "origin": "moltbot_edge"}, {"name": "json", "origin": "cpython"}]
    found = components.product(ROOT, rows)
    assert f'__version__ = "{found.version}"' in (ROOT / "moltbot_edge/__init__.py").read_text()
    assert list(found.modules) == ["moltbot_edge.api"]
