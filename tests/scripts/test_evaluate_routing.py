"""The measure of `complexity`, on labels whose answer is known."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import evaluate_routing
import pytest
from evaluate_routing import Result, always, auc, by_length, read, replay

from moltbot_edge.policies.complexity import Complexity

SCRIPT = Path(evaluate_routing.__file__)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """The weak model cannot count, and the strong one knows everything."""
    rows = [
        {"subject": f"s{number % 10}", "prompt": prompt, "weak": "apples" not in prompt, "strong": True}
        for number in range(400)
        for prompt in ("Who was it?", "Say, how many apples are 3 and 4 of them, and how many pears?")
    ]
    path = tmp_path / "labels.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return path


def test_what_is_learned_comes_near_to_what_can_be_known(labels: Path) -> None:
    questions = read(labels)
    assert always(questions, "weak") == Result(50.0, 0.0)
    result = replay(questions * 5, Complexity(targets=("weak", "strong"), learn=True, default="strong"))
    assert result.right > 97
    assert 50 <= result.strong < 65
    assert by_length(questions, 50.0) == Result(100.0, 50.0)


def test_foresight_is_one_half_by_chance_and_one_when_sure(labels: Path) -> None:
    questions = read(labels)
    assert auc((0.0, one) for one in questions) == 0.5
    assert auc((float(not one.right["weak"]), one) for one in questions) == 1.0
    assert auc((float(one.right["weak"]), one) for one in questions) == 0.0


def test_all_tables_are_printed(labels: Path) -> None:
    done = subprocess.run([sys.executable, SCRIPT, labels], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| always strong | 100.0 % | 100.0 % |" in done.stdout
    assert "| learned, default weak |" in done.stdout
    assert "| strong | of other subjects |" in done.stdout
