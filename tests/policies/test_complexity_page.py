"""docs/complexity.md: what it shows is true."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from moltbot_edge.config.known import known
from moltbot_edge.config.load import read
from moltbot_edge.core import verdict
from moltbot_edge.core.verdict import Verdict
from moltbot_edge.kernel.registry import Registry
from moltbot_edge.policies.complexity import Complexity, _thresholds

PAGE = (Path(__file__).parents[2] / "docs" / "complexity.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_loads(tmp_path: Path, example: str) -> None:
    file = tmp_path / "moltbot.yaml"
    file.write_text(example)
    assert read(file, {}, known=lambda config: known(Registry())).problems == ()


def test_every_option_is_on_the_page_with_its_default() -> None:
    for field in msgspec.structs.fields(Complexity):
        assert f"{field.name}: " in PAGE or f"| `{field.name}` |" in PAGE
        if isinstance(field.default, float):
            assert f"| `{field.name}` | {field.default:g} |" in PAGE


def test_every_sign_is_on_the_page_with_its_weight() -> None:
    rows = {name: row for row in PAGE.splitlines() for name in re.findall(r"`([a-z-]+)`", row) if row.startswith("| `")}
    for found in vars(verdict).values():
        if isinstance(found, Verdict):
            weight = f"{found.good:g} good" if found.good else f"{found.bad:g} bad"
            assert weight in rows[found.sign], found.sign


def test_the_thresholds_are_those_of_the_page() -> None:
    assert [[round(one, 3) for one in _thresholds(count)] for count in (1, 2, 3, 4)] == [
        [],
        [0.5],
        [0.3, 0.7],
        [0.3, 0.5, 0.7],
    ]
