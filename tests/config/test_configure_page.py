"""docs/configure.md: what it shows is true."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import msgspec.inspect as mi
import pytest
import trustme

from moltbot_edge.config.known import known
from moltbot_edge.config.load import read
from moltbot_edge.config.schema import Config
from moltbot_edge.kernel.registry import Registry

PAGE = Path(__file__).parents[2] / "docs" / "configure.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
EVERYTHING = max(EXAMPLES, key=len)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example[:20])
def test_each_example_loads(tmp_path: Path, example: str) -> None:
    file = tmp_path / "moltbot.yaml"
    (tmp_path / "cloud_key").write_text("k")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "box.pem"))
    file.write_text(example.replace("/run/secrets/", ""))
    assert read(file, {}, known=lambda config: known(Registry())).errors == []


def test_the_whole_example_shows_defaults_outside_of_its_examples(tmp_path: Path) -> None:
    file = tmp_path / "moltbot.yaml"
    file.write_text(EVERYTHING)
    shown = msgspec.structs.replace(read(file, {}).config, model_registry=[], aliases={})
    assert shown == Config()


def test_the_whole_example_names_every_field() -> None:
    named = set(re.findall(r"(\w+):", EVERYTHING))

    def fields(kind: mi.Type) -> set[str]:
        match kind:
            case mi.Metadata(type=inner) | mi.ListType(item_type=inner) | mi.DictType(value_type=inner):
                return fields(inner)
            case mi.UnionType(types=types):
                return set().union(*map(fields, types))
            case mi.StructType(fields=members):
                return {one.encode_name for one in members}.union(*(fields(one.type) for one in members))
        return set()

    assert fields(mi.type_info(Config)) <= named


def test_the_whole_example_still_loads_with_its_comments_taken_away(tmp_path: Path) -> None:
    """What is commented out is right but for the files and hashes that only a user has."""
    file = tmp_path / "moltbot.yaml"
    text = EVERYTHING.replace("keys: []", "keys:")
    file.write_text(re.sub(r"^( *)# ((?:  )*(?:\w+:|- \{).*)$", r"\1\2", text, flags=re.MULTILINE))
    paths = [one.path for one in read(file, {}).errors]
    assert paths == ["server.tls.cert", "server.tls.key", "model_registry[0].ca_file", "keys[0].hash"]
