"""What lies beside a built file: its hash, and the list of what is in it, which has to say the truth."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from binary.place import Place
from binary.target import Target

pytestmark = pytest.mark.only("built")

# Asked of the running file itself, by a plug-in.
WITNESS = """
import json, sqlite3, ssl, sys, zlib
import httptools, msgspec, uvloop, yaml

print(json.dumps({
    "python": "%d.%d.%d" % sys.version_info[:3],
    "openssl": ssl.OPENSSL_VERSION.split()[1],
    "sqlite": sqlite3.sqlite_version,
    "zlib": zlib.ZLIB_RUNTIME_VERSION,
    "httptools": httptools.__version__,
    "msgspec": msgspec.__version__,
    "uvloop": uvloop.__version__,
    "pyyaml": yaml.__version__,
}), file=sys.stderr)
"""
OTHER_NAMES = {"cpython": "python", "python3.13": "python", "sqlite3": "sqlite"}


def beside(target: Target, ending: str) -> Path:
    assert target.built is not None
    return target.built.with_name(f"{target.built.name}{ending}")


def bill(target: Target) -> dict[str, Any]:
    loaded = json.loads(beside(target, ".cdx.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def components(of: dict[str, Any]) -> list[dict[str, Any]]:
    below = of.get("components", [])
    return [*below, *(one for component in below for one in components(component))]


def test_its_hash_is_that_of_the_file(target: Target) -> None:
    assert target.built is not None
    digest = hashlib.sha256(target.built.read_bytes()).hexdigest()
    assert beside(target, ".sha256").read_text() == f"{digest}  {target.built.name}\n"
    said = bill(target)["metadata"]["component"]["hashes"]
    assert {"alg": "SHA-256", "content": digest} in said


def test_its_bill_of_materials_is_one(target: Target) -> None:
    """The rules of CycloneDX 1.6 that a reader relies on: who it is, unique references, a licence for each part."""
    document = bill(target)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", document["serialNumber"])
    assert document["metadata"]["component"]["name"] == "moltbot-edge"
    listed = components(document)
    assert [one for one in listed if not (one["type"] and one["name"] and one["version"] and one["licenses"])] == []
    references = [one["bom-ref"] for one in listed]
    assert len(references) == len(set(references))


def test_its_bill_of_materials_names_the_versions_that_are_inside(target: Target, place: Place) -> None:
    place.put("/plugins/witness.py", WITNESS)
    file = place.put("/moltbot.yaml", json.dumps({"plugins": {"folder": place.inside("/plugins")}}))
    done = place.run("plugins", "--config", file)
    inside = json.loads(done.errors)
    named = {
        OTHER_NAMES.get(one["name"].lower(), one["name"].lower()): one["version"] for one in components(bill(target))
    }
    assert {name: named.get(name) for name in inside} == inside


def test_its_own_version_is_in_it(target: Target, place: Place) -> None:
    told = place.run("--version").output.split()[-1]
    assert bill(target)["metadata"]["component"]["version"] == told
