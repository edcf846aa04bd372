"""Other people's modules in C, which a bundle loads for a plug-in file. The file is the documentation's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from binary.place import Place

from build.binary import wheels
from build.binary.contents import Package
from build.binary.store import Store

DOCUMENTED: str = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/binary.md").read_text(), re.DOTALL
)[0]
# In C alone: without its shared object it cannot be imported.
XXHASH = Package(
    name="xxhash",
    version="4.1.0",
    licence="BSD-2-Clause",
    module="xxhash",
    sha256={
        "x86_64": "9ec781ad63129c8559d035cf0b876a3843c8ebb6e423c3e8742b3e9a92124b39",
        "aarch64": "973643f3fc481553985613d40f86d85e7c08b2de9203be09dd25c0f425c3bd54",
    },
)


def put_wheel(place: Place, package: Package) -> None:
    folder = wheels.folder_of(wheels.brought(Store(), "test-module-in-c", (package,), place.target.arch))
    for path in folder.rglob("*"):
        if path.is_file():
            place.put(f"/plugins/lib/{path.relative_to(folder)}", path.read_bytes())


@pytest.mark.only("bundle")
def test_a_plugin_file_uses_a_module_in_c_from_a_wheel_beside_it(place: Place) -> None:
    put_wheel(place, XXHASH)
    place.put("/plugins/sticky_hash.py", DOCUMENTED)
    config = place.put("/moltbot.yaml", json.dumps({"plugins": {"folder": place.inside("/plugins")}}))
    done = place.run("plugins", "--config", config, "--json")
    assert (done.status, done.errors) == (0, "")
    told = json.loads(done.output)
    assert told["problems"] == []
    assert ("policy", "by-hash") in {(found["kind"], found["name"]) for found in told["plugins"]}
