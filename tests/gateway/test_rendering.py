"""What an engine of this board is sent, and what is said when its cache was missed."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from moltbot_edge.core.events import Usage
from moltbot_edge.gateway import rendering
from moltbot_edge.gateway.rendering import LAST_BYTES, SAY_EVERY_S, SLOTS, Rendering

RULES = " ".join(f"Rule {number}: do not touch item {number * 7}." for number in range(60))
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("one", "two")]


def body(system: str, *questions: str, **more: Any) -> bytes:
    messages = [{"role": "system", "content": system}, *({"role": "user", "content": one} for one in questions)]
    return json.dumps({"model": "small", "messages": messages, **more}).encode()


class Asked:
    """A rendering with a clock of its own, of one engine with one slot."""

    def __init__(self, stabilise: bool | list[str] = False) -> None:
        self.seconds = 1000.0
        self.rendering = Rendering(stabilise, lambda: self.seconds)

    def __call__(self, body: bytes, cached: int, read: int = 1000) -> bytes:
        sent, _ = self.rendering.of("small#2", "small", body)
        found = self.rendering.sent("small#2", 0, sent)
        self.rendering.answered("small#2", 0, found, Usage(read, 10, cached))
        return sent if isinstance(sent, bytes) else bytes(sent)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger=rendering.__name__)
    return caplog


def test_a_missed_cache_is_told_with_the_bytes_that_differ(said: pytest.LogCaptureFixture) -> None:
    ask = Asked()
    ask(body(f"It is 06:05. {RULES}", "hello"), 0)
    ask(body(f"It is 06:17. {RULES}", "hello", "and now?"), 12)
    assert said.messages == [
        "engine small#2: 12 tokens of a prompt were cached, where the one before it had 1000: at byte 41, "
        "'content\": \"It is 06:05. Rule 0: do not t' was before what is now "
        "'content\": \"It is 06:17. Rule 0: do not t'"
    ]


def test_nothing_is_said_of_what_could_not_be_cached(said: pytest.LogCaptureFixture) -> None:
    ask = Asked()
    ask(body(RULES, "hello"), 0)
    ask(body(RULES, "hello", "and now?"), 990)
    ask(body(RULES, "hello", "and now?", "and then?"), 5)  # a restart: the prompt went on as it should
    ask(body("something else altogether", "hello"), 0)
    ask(body(f"It is 06:05. {RULES}", "hello"), 100, read=100)
    ask(body(f"It is 06:06. {RULES}", "hello"), 0, read=100)
    ask.rendering.answered("small#2", 0, None, None)
    assert said.messages == []


def test_it_is_said_once_in_a_while(said: pytest.LogCaptureFixture) -> None:
    ask = Asked()
    for minute in range(10, 20):
        ask(body(f"It is 06:{minute}. {RULES}", "hello"), 10)
    assert len(said.messages) == 1
    ask.seconds += SAY_EVERY_S
    ask(body(f"It is 07:00. {RULES}", "hello"), 10)
    assert len(said.messages) == 2


def test_prompts_that_are_kept_are_bounded() -> None:
    kept = Rendering(False, lambda: 0.0)
    for slot in range(SLOTS + 3):
        kept.sent("small", slot, body("x" * 2 * LAST_BYTES, "hello"))
    assert len(kept._last) == SLOTS
    assert all(len(last.text) == LAST_BYTES for last in kept._last.values())


def test_a_clock_is_moved_only_where_the_configuration_says_so() -> None:
    system, question = f"Current time: 06:05\n{RULES}", "hello"
    as_it_is = body(system, question)
    assert Asked(False)(as_it_is, 0) is as_it_is
    assert Asked(["other"])(as_it_is, 0) is as_it_is
    for stabilise in (True, ["small"]):
        moved = json.loads(Asked(stabilise)(as_it_is, 0))["messages"]
        assert moved[0]["content"].startswith("Current time: [value 1]\n")
        assert "06:05" in moved[1]["content"]


def test_each_engine_is_sent_tools_as_it_was_sent_them_first() -> None:
    kept = Rendering(False, lambda: 0.0)
    first, turned = body(RULES, "hello", tools=TOOLS), body(RULES, "hello", tools=TOOLS[::-1])
    kept.of("small", "small", first)
    assert json.loads(kept.of("small", "small", turned)[0])["tools"] == TOOLS
    assert kept.of("large", "large", turned)[0] is turned


def test_a_trail_is_of_what_is_sent() -> None:
    moving = Rendering(True, lambda: 0.0)
    one, other = (moving.of("small", "small", body(f"Current time: 06:{m}\n{RULES}", "hello"))[1] for m in ("05", "17"))
    assert len(one) == 2
    assert one[0] == other[0]
    assert one[1] != other[1]
