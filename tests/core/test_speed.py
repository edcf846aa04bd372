"""Rates, learned from how replies came."""

from __future__ import annotations

import random

import pytest

from moltbot_edge.core.events import Outcome, Timings, Usage
from moltbot_edge.core.speed import CROWD, SETTLE_S, Sent, Speed

PREFILL, DECODE, FIXED_S = 200.0, 20.0, 0.1  # tokens a second, and seconds before any

NEW = Speed()


def sent(tokens: float, *, queue_s: float = 0.0, cacheable: float = 0.0) -> Sent:
    return Sent(int(tokens * 4), tokens, cacheable, tokens, None, queue_s)


def replied(
    tokens: int,
    written: int = 50,
    *,
    cached: int = 0,
    streamed: bool = True,
    says_usage: bool = True,
    says_timings: bool = False,
    waited_s: float = 0.0,
    times: float = 1.0,
) -> Outcome:
    """What a machine of the rates above would have done."""
    first_s = waited_s + (FIXED_S + (tokens - cached) / PREFILL + 1 / DECODE) * times
    whole_s = first_s + (written - 1) / DECODE
    return Outcome(
        "box",
        200,
        whole_s,
        first_byte_s=first_s if streamed else whole_s,
        usage=Usage(tokens, written, cached) if says_usage else None,
        timings=Timings(PREFILL, DECODE) if says_timings else None,
        streamed=streamed,
    )


def taught(*lessons: tuple[Sent, Outcome], speed: Speed = NEW) -> Speed:
    for i, (what, outcome) in enumerate(lessons):
        speed = speed.learned(what, outcome, float(i))
    return speed


@pytest.mark.parametrize("streamed", [True, False])
def test_a_first_answer_that_waited_for_its_model_to_be_loaded_is_not_held_against_the_box(streamed: bool) -> None:
    loading = replied(100, waited_s=60.0, streamed=streamed)
    speed = taught((sent(100), loading), (sent(100), replied(100, streamed=streamed)))
    cold = taught((sent(100), loading))
    assert cold.first_token_s(100, 0.0) > 5.0
    assert speed.first_token_s(100, 0.0) < 0.25 * cold.first_token_s(100, 0.0)
    if streamed:
        assert speed.reading.at(100) < 1.0


def mixed(count: int, **how: bool) -> list[tuple[Sent, Outcome]]:
    chance = random.Random(7)
    sizes = [int(chance.lognormvariate(6, 0.8)) + 20 for _ in range(count)]
    return [(sent(size), replied(size, chance.randint(20, 80), **how)) for size in sizes]


@pytest.mark.parametrize("says", ["usage", "timings", "nothing"])
@pytest.mark.parametrize("tokens", [60, 400, 2000])
def test_a_streams_first_token_is_foretold_after_twenty(says: str, tokens: int) -> None:
    how = {"says_usage": says != "nothing", "says_timings": says == "timings"}
    speed = taught(*mixed(20, **how))
    assert speed.first_token_s(tokens, 20.0) == pytest.approx(replied(tokens).first_byte_s, rel=0.1)
    assert speed.reply_s == pytest.approx(49 / DECODE, rel=0.3)


def test_rates_are_found() -> None:
    speed = taught(*mixed(20))
    assert speed.prefill_rate == pytest.approx(PREFILL, rel=0.1)
    assert speed.decode_rate == pytest.approx(DECODE, rel=0.1)


def test_timings_tell_of_a_whole_reply_what_its_bytes_do_not() -> None:
    speed = taught(*mixed(20, streamed=False, says_timings=True))
    assert speed.prefill_rate == pytest.approx(PREFILL, rel=0.05)
    assert speed.decode_rate == pytest.approx(DECODE, rel=0.05)


def test_of_a_whole_reply_without_timings_reading_and_writing_are_told_apart_roughly() -> None:
    speed = taught(*mixed(40, streamed=False))
    whole_s = replied(400).duration_s
    assert speed.first_token_s(400, 40.0) + speed.reply_s == pytest.approx(whole_s, rel=0.3)
    assert 0.1 * whole_s < speed.first_token_s(400, 40.0) < 0.9 * whole_s


def test_a_failure_or_an_empty_reply_teaches_nothing() -> None:
    assert Speed().learned(sent(100), Outcome("box", 502, 1.0, error="Unreachable"), 0.0) == Speed()
    assert Speed().learned(sent(100), Outcome("box", 200, 1.0, 0.5, error="TruncatedReply"), 0.0) == Speed()
    assert not Speed().known


def test_cached_tokens_are_not_taken_for_speed() -> None:
    speed = taught(*mixed(10), *[(sent(2000), replied(2000, cached=1900))] * 10)
    assert speed.first_token_s(2000, 20.0) == pytest.approx(replied(2000).first_byte_s, rel=0.15)


def test_what_is_thought_to_be_cached_counts_as_far_as_it_was() -> None:
    speed = taught((sent(1000, cacheable=800), replied(1000, cached=800)))
    assert speed.cache_hits == 1.0
    for _ in range(10):
        speed = speed.learned(sent(1000, cacheable=800), replied(1000, cached=400), 1.0)
    assert speed.cache_hits == pytest.approx(0.5, abs=0.05)
    for _ in range(10):
        speed = speed.learned(sent(1000, cacheable=800), replied(1000), 1.0)
    assert speed.cache_hits < 0.05
    assert taught((sent(1000, cacheable=800), replied(1000, says_usage=False))).cache_hits == 0.0


def test_a_server_of_many_is_found_to_have_no_queue() -> None:
    speed = taught(*mixed(10))
    assert speed.crowding == 1.0
    for _ in range(30):
        speed = speed.learned(sent(400, queue_s=10.0), replied(400), 11.0)
    assert speed.crowding < 0.1


def test_a_queue_is_found_to_cost_what_it_costs() -> None:
    speed = taught(*mixed(10))
    for _ in range(30):
        speed = speed.learned(sent(400, queue_s=4.0), replied(400, waited_s=2.0), 11.0)
    assert speed.crowding == pytest.approx(0.5, abs=0.05)
    for _ in range(60):
        speed = speed.learned(sent(400, queue_s=4.0), replied(400, waited_s=400.0), 11.0)
    assert speed.crowding == pytest.approx(CROWD, rel=0.01)
    assert speed.first_token_s(400, 100.0) == pytest.approx(replied(400).first_byte_s, rel=0.15)


def test_a_sudden_slowness_tells_at_once_and_passes() -> None:
    usual = taught(*mixed(20))
    slow = usual.learned(sent(400), replied(400, times=8.0), 100.0)
    assert slow.slow_by(100.0) == pytest.approx(8.0, rel=0.15)
    assert slow.first_token_s(400, 100.0) > 5 * usual.first_token_s(400, 100.0)
    assert slow.slow_by(100.0 + SETTLE_S) == pytest.approx(1 + 7 / 2.72, rel=0.15)
    assert slow.slow_by(100.0 + 5 * SETTLE_S) == 1.0
    again = slow.learned(sent(400), replied(400), 100.0 + SETTLE_S)
    assert again.slow_by(100.0 + SETTLE_S) < slow.slow_by(100.0 + SETTLE_S)


def test_a_little_slower_is_weather() -> None:
    usual = taught(*mixed(20))
    assert usual.learned(sent(400), replied(400, times=1.6), 100.0).slow_by(100.0) == 1.0


def test_what_has_become_slower_for_good_is_learned() -> None:
    speed = taught(*mixed(20))
    for i in range(30):
        speed = speed.learned(sent(400), replied(400, times=4.0), 100.0 + 60 * i)
    assert speed.first_token_s(400, 1e4) == pytest.approx(replied(400, times=4.0).first_byte_s, rel=0.2)


def test_what_every_prompt_has_in_common_is_not_read_again() -> None:
    speed = taught(*[(sent(50), replied(50, cached=24))] * 10)
    assert speed.always_cached == pytest.approx(24, rel=0.05)
    assert speed.learned(sent(1000, cacheable=800), replied(1000, cached=800), 1.0).always_cached == speed.always_cached
