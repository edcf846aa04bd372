"""The configuration as a JSON Schema (draft 2020-12), for editors. What msgspec writes, and what YAML files add to it.

A file may hold ``${PORT}`` where a number is wanted, and nothing at all below ``keys:``; `decode` takes both, so
the schema has to.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from moltbot_edge.config.schema import Config

_REFERENCE: Final = {"type": "string", "pattern": r"\$\{"}
_BESIDE: Final = ("description", "default", "examples")  # stays outside when a schema becomes a choice


def json_schema() -> dict[str, Any]:
    schema = msgspec.json.schema(Config)
    components = {name: _with_references(component) for name, component in schema.pop("$defs").items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "moltbot-edge configuration",
        **schema,
        "$defs": components,
    }


def _with_references(schema: dict[str, Any]) -> dict[str, Any]:
    match schema:
        case {"type": "integer" | "number" | "boolean"} | {"enum": _} | {"pattern": _}:
            return _choice(schema, _REFERENCE)
        case {"default": _, "type": "array" | "object"} | {"default": _, "$ref": _}:
            return _choice(_below(schema), {"type": "null"})
    return _below(schema)


def _below(schema: dict[str, Any]) -> dict[str, Any]:
    below = dict(schema)
    for key, value in schema.items():
        match key, value:
            case "properties", dict():
                below[key] = {name: _with_references(one) for name, one in value.items()}
            case "items" | "additionalProperties", dict():
                below[key] = _with_references(value)
            case "anyOf", list():
                below[key] = [_with_references(one) for one in value]
    return below


def _choice(schema: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    beside: dict[str, Any] = {key: schema[key] for key in _BESIDE if key in schema}
    return {**beside, "anyOf": [{key: value for key, value in schema.items() if key not in beside}, other]}
