"""The trials of ``scripts/swaps`` in short: real engines and a real model, through a gateway of its own process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from swapping import course, kills

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]
QUIET = {"args": ["-t", "1", "--poll", "0"]}  # two engines that poll on one core wait for each other


async def test_more_models_than_fit_all_answer_within_the_budget(
    llama_server: Path, chat_model: Path, tmp_path: Path
) -> None:
    """One model in three files of its own, with three contexts."""
    trial = course.Trial(
        models={"one": (chat_model, 2048), "two": (chat_model, 1024), "three": (chat_model, 512)},
        requests=16,
        tokens=2,
        seed=3,
        engines={**QUIET, "min_warm_s": 0.0},
    )
    found = await course.run(trial, str(llama_server), tmp_path)
    assert found.failed == []
    assert len(found.waits_s) == 16
    assert found.most <= 1.05
    assert found.loads * 3 <= found.loads_by_recency * 2
    assert found.loads >= 3
    for name, predicted_bytes in found.predicted_bytes.items():
        assert 0.85 <= found.measured_bytes[name] / predicted_bytes <= 1.15


@pytest.mark.timeout(300)
async def test_a_gateway_that_is_killed_under_load_leaves_nothing_and_the_next_one_serves(
    llama_server: Path, chat_model: Path, tmp_path: Path
) -> None:
    models: list[Mapping[str, Any]] = []
    for name in ("one", "two"):
        (tmp_path / f"{name}.gguf").hardlink_to(chat_model)
        models.append({"name": name, "file": f"{name}.gguf", "context_tokens": 512})
    found = await kills.run(models, str(llama_server), tmp_path, 3, {**QUIET, "memory_mb": 220, "min_warm_s": 0.0})
    assert found.times == 3
    assert found.left == []
    assert found.unserved == []
