"""The schema for editors: valid, whole, and of one mind with the decoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from moltbot_edge.config.json_schema import json_schema
from moltbot_edge.config.load import read

EXAMPLES = Path(__file__).with_name("examples")


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_the_examples_are_valid(validator: jsonschema.Draft202012Validator, file: Path) -> None:
    validator.validate(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("", True),
        ("server: {port: 80}", True),
        ("server: {port: 70000}", False),
        ("server: {port: '80'}", False),
        ("server: {port: '${PORT:-80}'}", True),
        ("server: {log_level: '${L:-info}'}", True),
        ("server: {log_level: warn}", False),
        ("server: {prot: 80}", False),
        ("server:", True),
        ("keys:", True),
        ("server: {tls: {cert: a}}", False),
        ("model_registry: [{name: a, endpoint: '${U:-http://b}'}]", True),
        ("model_registry: [{name: a, endpoint: b}]", False),
        ("model_registry: [{name: a, file: b, headers: , engine_args: }]", True),
        ("model_registry: [{endpoint: http://b}]", False),
        ("model_registry: [a]", False),
        ("aliases: {a: {models: []}}", False),
        ("tool_integration: {a: {type: b, host: c, port: 1}}", True),
        ("tool_integration: {a: {host: c}}", False),
        ("limits: {queue_s: 0}", False),
        ("limits: {queue_s: 0.5}", True),
    ],
)
def test_an_editor_and_the_decoder_are_of_one_mind(
    validator: jsonschema.Draft202012Validator, tmp_path: Path, text: str, valid: bool
) -> None:
    assert validator.is_valid(yaml.safe_load(text) or {}) is valid
    file = tmp_path / "moltbot.yaml"
    file.write_text(text)
    decoding = [
        one for one in read(file, {}).errors if "is named" not in one.message and "cannot be" not in one.message
    ]
    assert (decoding == []) is valid


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, section in schema["$defs"].items():
        for field, value in section["properties"].items():
            yield f"{name}.{field}", value


def test_every_limit_has_a_description_and_every_optional_field_its_default() -> None:
    schema = json_schema()
    for name, field in fields(schema):
        if name.startswith("Limits."):
            assert field["description"], name
    for name, section in schema["$defs"].items():
        for field, value in section["properties"].items():
            assert field in section.get("required", ()) or "default" in value, f"{name}.{field}"


def test_a_description_is_in_one_place_only() -> None:
    for name, field in fields(json_schema()):
        texts = [field.get("description"), *(one.get("description") for one in field.get("anyOf", ()))]
        assert len([text for text in texts if text]) <= 1, name
