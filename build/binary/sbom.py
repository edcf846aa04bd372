"""What is inside the executable, as a CycloneDX 1.6 document: for those who have to know whether a weakness is theirs.

Every package with the modules of it that went in, every extension in C, every library. It holds nothing of the moment
or the machine that built it, so the same contents give the same document.
Source: cyclonedx.org/docs/1.6/json; package URLs as purl-spec has them.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SPEC: Final = "1.6"
SCHEMA: Final = "http://cyclonedx.org/schema/bom-1.6.schema.json"
OWN: Final = "moltbot-edge:"  # before the names of properties that are ours

# Licences that have no identifier in SPDX's list are given by name.
NAMED_LICENCES: Final = frozenset({"public domain"})


@dataclass(frozen=True)
class Component:
    """*modules* are those of its Python modules that went in, *compiled* those in C; *part_of* is the component that
    brought it, if it is no package of its own."""

    name: str
    version: str
    licence: str
    purl: str | None = None
    cpe: str | None = None
    kind: str = "library"
    part_of: str | None = None
    modules: Sequence[str] = field(default=())
    compiled: Sequence[str] = field(default=())

    @property
    def ref(self) -> str:
        return self.purl or f"{self.part_of or 'static'}/{self.name}@{self.version}"


def document(
    product: Component, components: Iterable[Component], *, properties: Mapping[str, str], sha256: str | None = None
) -> dict[str, Any]:
    """The document of *product* and what it holds. *sha256* of the file, in the document that lies beside it."""
    ordered = sorted(components, key=lambda one: one.ref)
    nested: dict[str, list[Component]] = defaultdict(list)
    for component in ordered:
        if component.part_of is not None:
            nested[component.part_of].append(component)
    names = {component.name for component in ordered if component.part_of is None}
    astray = sorted(set(nested) - names)
    if astray:
        raise ValueError(f"parts of components that are not there: {', '.join(astray)}")
    top = [_written(one, nested[one.name]) for one in ordered if one.part_of is None]
    about = _written(product, ())
    if sha256 is not None:
        about["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    about["properties"] = [*about.get("properties", ()), *_properties(properties)]
    written: dict[str, Any] = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "metadata": {"component": about},
        "components": top,
        "dependencies": [{"ref": product.ref, "dependsOn": [component["bom-ref"] for component in top]}],
    }
    told = json.dumps(written, sort_keys=True)
    return {**written, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, told)}"}


def text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _written(component: Component, parts: Sequence[Component]) -> dict[str, Any]:
    written: dict[str, Any] = {
        "type": component.kind,
        "bom-ref": component.ref,
        "name": component.name,
        "version": component.version,
        "licenses": [_licence(component.licence)],
    }
    if component.purl is not None:
        written["purl"] = component.purl
    if component.cpe is not None:
        written["cpe"] = component.cpe
    inside = {"modules": component.modules, "modules-in-c": component.compiled}
    if any(inside.values()):
        written["properties"] = _properties({name: " ".join(sorted(names)) for name, names in inside.items() if names})
    if parts:
        written["components"] = [_written(part, ()) for part in parts]
    return written


def _licence(licence: str) -> dict[str, Any]:
    if licence in NAMED_LICENCES:
        return {"license": {"name": licence}}
    if " " in licence:
        return {"expression": licence}
    return {"license": {"id": licence}}


def _properties(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": f"{OWN}{name}", "value": value} for name, value in sorted(values.items())]
