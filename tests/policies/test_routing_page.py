"""docs/routing.md: what it shows is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fleet import QUERY, candidate, names

from moltbot_edge.config.known import known
from moltbot_edge.config.load import read
from moltbot_edge.kernel.discover import in_folder
from moltbot_edge.kernel.registry import BUILTINS, Registry

PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
REGISTRY = next(example for example in EXAMPLES if "name: cloud" in example)
(PLUGIN,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split()[1])
def test_each_example_loads(tmp_path: Path, example: str) -> None:
    file = tmp_path / "moltbot.yaml"
    file.write_text(example if "model_registry" in example else REGISTRY + example)
    assert read(file, {"OPENAI_API_KEY": "secret"}, known=lambda config: known(Registry())).errors == []


def test_every_policy_is_there_with_all_its_options() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \|.*\| (.*)\|$", PAGE, re.MULTILINE))
    assert set(BUILTINS["policy"]) - {"complexity"} <= set(rows)
    for name, told in rows.items():
        options = getattr(Registry().get("policy", name), "__struct_fields__", ())
        assert set(re.findall(r"`(\w+):", told)) == set(options), name


def test_the_plug_in_takes_the_place_of_a_built_in_and_has_ten_lines(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "mine.py").write_text(PLUGIN)
    found = in_folder(tmp_path)
    assert found.problems == ()
    mine = Registry(found.plugins).build("policy", "fastest")
    fleet = [candidate("a", 0.1), candidate("b", 3.0, private=True), candidate("c", 2.0, private=True)]
    assert names(mine(fleet, QUERY)) == "cba"
    assert names(Registry().build("policy", "fastest")(fleet, QUERY)) == "acb"
    assert len([line for line in PLUGIN.splitlines() if line]) <= 10
