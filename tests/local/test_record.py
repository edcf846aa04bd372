"""What the owner learns of an engine: what it takes, and what its coming back would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.lease import Wish
from moltbot_edge.local import holding
from moltbot_edge.local.footprint import Launch, predicted
from moltbot_edge.local.gguf import Facts
from moltbot_edge.local.launch import EngineModel, Survey
from moltbot_edge.local.leases import Tenant
from moltbot_edge.local.lifecycle import State
from moltbot_edge.local.memory import Share
from moltbot_edge.local.placement import Running, Stage
from moltbot_edge.local.record import Demand, Record, tolerated

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024
MODEL = Facts("llama")
PREDICTED = predicted(100 * MIB, MODEL, Launch(512)).total


def record(name: str = "a", state: State = State.READY, takes: int = 0, **wishes: Any) -> Record:
    found = Record(EngineModel(name, Path(f"{name}.gguf"), **wishes))
    found.survey = Survey(100 * MIB, MODEL, Launch(512))
    found.engine = msgspec.structs.replace(found.engine, state=state)
    found.share = Share(takes)
    return found


async def reply(usage: Usage | None, timings: Timings | None) -> Tenant:
    tenant = Tenant("a", Wish(), 0.0)
    tenant.answered, tenant.usage, tenant.timings = True, usage, timings
    return tenant


async def test_what_an_engine_was_seen_to_take_replaces_the_prediction_once_it_has_answered() -> None:
    engine = record()
    engine.measured(Share(90 * MIB), learns_down=True)
    assert engine.need_bytes() == PREDICTED  # it has only loaded yet
    engine.told(await reply(None, None))
    engine.measured(Share(110 * MIB), learns_down=True)
    engine.measured(Share(95 * MIB), learns_down=True)
    assert engine.need_bytes() == int(110 * MIB * 1.02)
    assert engine.predicted_bytes() == PREDICTED


async def test_what_takes_more_than_expected_is_known_for_it_at_once() -> None:
    engine = record(memory_bytes=50 * MIB)
    engine.measured(Share(80 * MIB), learns_down=False)
    assert engine.need_bytes() == int(80 * MIB * 1.02)


async def test_weights_that_others_map_too_are_expected_of_each() -> None:
    """They may go, and then it has all of them. Of what else is shared, no more than that counts."""
    engine = record()
    engine.told(await reply(None, None))
    engine.measured(Share(60 * MIB, others=50 * MIB), learns_down=True)
    assert engine.need_bytes() == int(110 * MIB * 1.02)
    engine.measured(Share(60 * MIB, others=900 * MIB), learns_down=True)
    assert engine.need_bytes() == int(160 * MIB * 1.02)


async def test_where_memory_is_no_processs_a_measurement_says_only_more() -> None:
    engine = record()
    engine.told(await reply(None, None))
    engine.measured(Share(30 * MIB), learns_down=False)
    assert engine.need_bytes() == PREDICTED


async def test_coming_back_costs_the_load_and_what_is_held_if_it_is_wanted() -> None:
    engine = record()
    engine.demand.heard(100.0)
    assert engine.return_cost_s(100.0) > 0
    engine.began = 90.0
    engine.loaded(100.0)
    before = engine.return_cost_s(100.0)
    engine.told(await reply(Usage(1900, 100), Timings(20.0, 5.0)))
    assert engine.return_cost_s(100.0) == pytest.approx(before * 110 / 10)
    assert engine.return_cost_s(4000.0) < before / 10


def test_what_is_asked_for_more_often_is_likelier_wanted_soon() -> None:
    seldom, often = Demand(), Demand()
    for at in range(0, 600, 300):
        seldom.heard(float(at))
    for at in range(0, 600, 30):
        often.heard(float(at))
    assert 0 < seldom.soon(600.0) < often.soon(600.0) < 1
    assert often.soon(600.0) > often.soon(1200.0)


def test_what_hardly_exceeds_the_budget_fits_alone() -> None:
    assert [tolerated(size, 100) for size in (99, 100, 105, 106)] == [99, 100, 100, 106]


def test_what_loads_will_take_and_what_is_mapped_is_not_free() -> None:
    loading, running = record("a", State.LOADING), record("b")
    loading.share, running.share = Share(20 * MIB), Share(90 * MIB, 60 * MIB)
    stages = [Running("a", 100 * MIB, Stage.COMING), Running("b", 90 * MIB)]
    assert holding.free_bytes(stages, {"a": loading, "b": running}, 500 * MIB) == (500 - 80 - 60) * MIB


def test_who_has_grown_most_is_ended_where_idle_ones_would_not_make_up_for_it() -> None:
    serving = record("a", takes=PREDICTED + 80)
    serving.leased.add(object())  # type: ignore[arg-type]
    other = record("b", takes=PREDICTED)
    other.leased.add(object())  # type: ignore[arg-type]
    limit = 2 * PREDICTED
    assert holding.overgrown([serving, other], limit) is None  # within the margin
    serving.share = Share(PREDICTED + limit // 10)
    assert holding.overgrown([serving, other], limit) is serving
    other.leased.clear()
    assert holding.overgrown([serving, other], limit) is None  # it is idle, and goes first
    serving.share = Share(limit + limit // 10)
    assert holding.overgrown([serving, other], limit) is serving
    serving.engine = msgspec.structs.replace(serving.engine, state=State.STOPPING)
    assert holding.overgrown([serving, other], limit) is None
    assert holding.overgrown([serving, other], None) is None
