"""Progress in every dialect: an event that its clients pass over, as they do a ping."""

from __future__ import annotations

import json

import pytest

from moltbot_edge.api import Progress
from moltbot_edge.core.lease import Phase
from moltbot_edge.kernel.registry import Registry

QUEUED, LOADING = Progress(Phase.QUEUED, 2), Progress(Phase.LOADING, done=0.41234)


@pytest.mark.parametrize("name", ["anthropic-messages", "ollama", "openai-chat", "openai-responses"])
def test_every_dialect_has_a_place_for_it(name: str) -> None:
    told = Registry().build("dialect", name).progress(QUEUED, "small")
    assert b'"phase":"queued"' in told
    assert b'"position":2' in told
    assert told.endswith(b"\n")
    assert told.strip() != Registry().build("dialect", name).ping().strip()


def test_what_is_said_of_a_phase_is_what_it_has() -> None:
    assert QUEUED.said() == {"phase": "queued", "position": 2}
    assert LOADING.said() == {"phase": "loading", "done": 0.412}
    assert Progress(Phase.LOADING).said() == {"phase": "loading"}


def test_anthropics_is_a_ping_and_ollamas_a_piece_that_says_nothing() -> None:
    event, data = Registry().build("dialect", "anthropic-messages").progress(LOADING, "m").strip().split(b"\n")
    assert event == b"event: ping"
    assert json.loads(data.removeprefix(b"data: ")) == {"type": "ping", "progress": LOADING.said()}
    line = json.loads(Registry().build("dialect", "ollama").progress(LOADING, "m"))
    assert (line["message"]["content"], line["done"], line["progress"]) == ("", False, LOADING.said())
