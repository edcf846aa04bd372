"""What is known of all deployments, as requests come and go."""

from __future__ import annotations

import pytest

from moltbot_edge.api import Deployment, Outcome, Upstream, Usage
from moltbot_edge.core import prefixes
from moltbot_edge.gateway.standings import BYTES_PER_TOKEN, MOST_MODELS, Standings


def deployment(name: str, model: str = "qwen3:4b") -> Deployment:
    return Deployment(name, Upstream(name, "http", name, 11434, "/v1"), model)


BOX, OTHER = deployment("box"), deployment("other")
TALK = b'{"model": "chat", "messages": [{"role": "user", "content": "' + b"Tell me of tea. " * 200
GOES_ON = TALK + b"And this I know now. " * 20 + b"Go on."


def answer(standings: Standings, one: Deployment, body: bytes, usage: Usage, *, now: float = 0.0) -> None:
    sent = standings.started(one, len(body), prefixes.marks(body), now)
    standings.ended(one, sent, Outcome(one.name, 200, 2.0, 1.0, usage=usage, streamed=True), now + 2.0)


def test_a_prompts_tokens_are_guessed_until_a_reply_has_counted_them() -> None:
    standings = Standings()
    assert standings.prompt_tokens("qwen3:4b", 4000) == 4000 / BYTES_PER_TOKEN
    answer(standings, BOX, b"x" * 4000, Usage(800, 10))
    assert standings.prompt_tokens("qwen3:4b", 4000) == pytest.approx(800, rel=0.05)
    assert standings.prompt_tokens("qwen3:4b", 400) == pytest.approx(80, rel=0.2)


def test_names_that_callers_make_up_are_not_counted_for_ever() -> None:
    standings = Standings()
    for number in range(MOST_MODELS + 2):
        invented = deployment("box", f"invented-{number}")
        answer(standings, invented, b"x" * 4000, Usage(800, 10), now=10.0 * number)
    counted = [standings.prompt_tokens(f"invented-{number}", 4000) != 1000 for number in range(MOST_MODELS + 2)]
    assert counted == [False, False] + [True] * MOST_MODELS


def test_what_one_machine_counted_holds_for_the_same_model_elsewhere_and_for_no_other_model() -> None:
    standings = Standings()
    answer(standings, BOX, b"x" * 4000, Usage(800, 10))
    both = standings.candidates([OTHER, deployment("cloud", "big-1")], 4000)
    assert [round(one.prompt_tokens or 0, -2) for one in both] == [800, 1000]


def test_a_picture_says_nothing_of_text() -> None:
    standings = Standings()
    answer(standings, BOX, b"x" * 400_000, Usage(1200, 10))
    assert standings.prompt_tokens("qwen3:4b", 4000) == 4000 / BYTES_PER_TOKEN


def test_a_cache_is_counted_on_where_a_reply_has_proved_it() -> None:
    standings = Standings()
    marks = prefixes.marks(GOES_ON)
    answer(standings, BOX, TALK, Usage(800, 100))
    answer(standings, OTHER, TALK, Usage(800, 100))
    assert [one.cached_tokens for one in standings.candidates([BOX, OTHER], len(GOES_ON), marks)] == [0.0, 0.0]
    answer(standings, BOX, GOES_ON, Usage(910, 100, cached_tokens=880))
    answer(standings, OTHER, GOES_ON, Usage(910, 100))
    box, other = standings.candidates([BOX, OTHER], len(GOES_ON), marks)
    assert box.cached_tokens == pytest.approx(910, rel=0.05)
    assert other.cached_tokens == 0.0


def test_a_conversation_that_never_went_there_is_not_cached_there() -> None:
    standings = Standings()
    answer(standings, BOX, TALK, Usage(800, 100))
    answer(standings, BOX, GOES_ON, Usage(910, 100, cached_tokens=880))
    elsewhere = TALK.replace(b"tea", b"ink")
    (box,) = standings.candidates([BOX], len(elsewhere), prefixes.marks(elsewhere))
    assert box.cached_tokens == 0.0


def test_what_is_expected_is_said_before_and_is_learned_from() -> None:
    standings = Standings()
    body = b"x" * 200
    assert standings.started(BOX, len(body), (), 0.0).first_token_s is None
    assert standings.of("box").in_flight == 1
    answer(standings, OTHER, body, Usage(50, 10))
    sent = standings.started(OTHER, len(body), (), 10.0)
    assert sent.first_token_s == pytest.approx(1.0, rel=0.05)
    assert standings.started(OTHER, len(body), (), 10.0).first_token_s == pytest.approx(1.0 + 2.0, rel=0.05)
    standings.left(OTHER, sent, 11.0)
    assert standings.of("other").in_flight == 1


def test_a_second_request_waits_for_the_first_as_far_as_that_was_seen() -> None:
    standings = Standings()
    for i in range(30):
        now = 100.0 * i
        first = standings.started(BOX, 200, (), now)
        second = standings.started(BOX, 200, (), now)
        outcome = Outcome("box", 200, 2.0, 1.0, usage=Usage(50, 10), streamed=True)
        standings.ended(BOX, first, outcome, now + 2.0)
        standings.ended(BOX, second, outcome, now + 2.0)
    standings.started(BOX, 200, (), 1e4)
    assert standings.started(BOX, 200, (), 1e4).first_token_s == pytest.approx(1.0, rel=0.2)
