"""What a model would take, for who looks while no gateway runs: the same that a gateway would say."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fake_engine import fake_engine
from gguf_file import chat_model

from moltbot_edge.config.schema import Engines
from moltbot_edge.local.keeping import KeepsNothing
from moltbot_edge.local.launch import EngineModel, Launcher
from moltbot_edge.local.shelf import WouldKeep, estimated

pytestmark = pytest.mark.anyio
SAVES = "print('--slot-save-path PATH  where slots go\\n--swa-full  keep all of the window')"


@pytest.fixture
def sliding(tmp_path: Path) -> EngineModel:
    file = tmp_path / "sliding.gguf"
    file.write_bytes(chat_model(**{"llama.block_count": 6, "llama.attention.sliding_window": 128}))
    return EngineModel("sliding", file)


async def test_what_lets_an_engine_save_its_cache_counts(tmp_path: Path, sliding: EngineModel) -> None:
    engines = Engines(command=str(fake_engine(tmp_path, "serve()", on_help=SAVES)))
    whole = []
    for keeper in (KeepsNothing(), WouldKeep(tmp_path / "kv")):
        survey = await Launcher(engines, {}, logging.getLogger("test"), keeper).survey(sliding)
        whole.append(survey.launch.whole_window)
    assert whole == [False, True]
    assert not (tmp_path / "kv").exists()


async def test_it_counts_where_there_is_no_engine_to_ask(sliding: EngineModel) -> None:
    assert estimated(sliding, Engines()).launch.whole_window
    assert not estimated(sliding, Engines(kv_disk_mb=0)).launch.whole_window
