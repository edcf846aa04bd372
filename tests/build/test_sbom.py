"""The list of contents that lies beside the executable, and in it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from build.binary import sbom
from build.binary.sbom import Component

PRODUCT = Component("moltbot-edge", "0.1.0", "Apache-2.0", kind="application", modules=("moltbot_edge",))
PARTS = [
    Component("CPython", "3.13.5", "PSF-2.0", purl="pkg:deb/debian/python3.13@3.13.5-2%2Bdeb13u5?arch=source"),
    Component(
        "expat", "2.7.1", "MIT", cpe="cpe:2.3:a:libexpat_project:libexpat:2.7.1:*:*:*:*:*:*:*", part_of="CPython"
    ),
    Component(
        "uvloop",
        "0.23.0",
        "MIT OR Apache-2.0",
        purl="pkg:pypi/uvloop@0.23.0",
        modules=("uvloop.includes", "uvloop"),
        compiled=("uvloop.loop",),
    ),
    Component("SQLite", "3.46.1", "blessing"),
]


def schema(name: str) -> Any:
    return json.loads((files("cyclonedx.schema") / "_res" / name).read_text())


def written(**options: Any) -> dict[str, Any]:
    return sbom.document(PRODUCT, PARTS, properties={"builder": "static"}, **options)


def test_the_document_is_what_cyclonedx_says_it_has_to_be() -> None:
    names = ("bom-1.6.SNAPSHOT.schema.json", "spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
    registry: Registry[Any] = Registry().with_resources(
        [(f"http://cyclonedx.org/schema/{name}", Resource.from_contents(schema(name))) for name in names]
    )
    validator = jsonschema.Draft7Validator(schema(names[0]), registry=registry)
    assert list(validator.iter_errors(json.loads(sbom.text(written(sha256="0" * 64))))) == []


def test_each_part_has_its_version_its_licence_and_its_place() -> None:
    components = {component["name"]: component for component in written()["components"]}
    assert set(components) == {"CPython", "uvloop", "SQLite"}
    assert components["CPython"]["components"][0]["name"] == "expat"
    assert components["uvloop"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert components["uvloop"]["properties"] == [
        {"name": "moltbot-edge:modules", "value": "uvloop uvloop.includes"},
        {"name": "moltbot-edge:modules-in-c", "value": "uvloop.loop"},
    ]
    assert components["SQLite"]["licenses"] == [{"license": {"id": "blessing"}}]


def test_the_same_contents_give_the_same_document_and_others_another() -> None:
    assert sbom.text(written()) == sbom.text(sbom.document(PRODUCT, PARTS[::-1], properties={"builder": "static"}))
    assert written()["serialNumber"] != sbom.document(PRODUCT, PARTS[:2], properties={})["serialNumber"]


def test_the_files_hash_is_in_the_document_beside_it_only() -> None:
    assert written(sha256="ab" * 32)["metadata"]["component"]["hashes"][0]["content"] == "ab" * 32
    assert "hashes" not in written()["metadata"]["component"]


def test_a_part_of_something_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="CPython"):
        sbom.document(PRODUCT, PARTS[1:2], properties={})
