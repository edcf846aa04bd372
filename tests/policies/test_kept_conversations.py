"""What each built-in policy makes of a conversation that one of the deployments holds."""

from __future__ import annotations

import random

import pytest
from fleet import LAST_SEEN, QUERY, candidate, names
from msgspec.structs import replace

from moltbot_edge.api import Candidate, Choice, RouteQuery
from moltbot_edge.core.prompt import Prompt
from moltbot_edge.core.staying import settled
from moltbot_edge.kernel.registry import Registry
from moltbot_edge.policies.fastest import Fastest

EASY, HARD = Prompt("hi", chars=2), Prompt("Prove step by step that the algorithm is optimal. " * 20, chars=1000)


def chosen(policy: str, fleet: list[Candidate], query: RouteQuery, **options: object) -> Choice:
    """As the planner does it."""
    said = Registry().build("policy", policy, options)(fleet, query)
    return settled(said if isinstance(said, Choice) else Choice(said), fleet, query)


def held_by(name: str, **of: object) -> RouteQuery:
    return replace(QUERY, stays=name, **of)


FLEET = [candidate("a", 10.0), candidate("b", 10.0, cached_tokens=900.0), candidate("c", 10.0)]


@pytest.mark.parametrize("policy", ["round-robin", "weighted", "least-busy", "fastest", "sticky", "cheapest"])
def test_it_stays_at_every_turn(policy: str) -> None:
    chance = random.Random(1)
    for turn in range(30):
        query = held_by("b", turn=turn, chance=chance.random(), session=f"talk {turn}")
        choice = chosen(policy, FLEET, query)
        assert names(choice)[0] == "b"
        assert choice.reason.startswith("stays: holds the conversation")


@pytest.mark.parametrize("policy", ["round-robin", "weighted", "least-busy", "cheapest", "priority", "fastest"])
def test_it_moves_where_others_are_idle_and_it_would_wait_longer_than_reading_takes(policy: str) -> None:
    busy = candidate("b", 10.0, cached_tokens=900.0, in_flight=3, work_s=20.0)
    fleet = [candidate("a", 10.0), busy]
    query = held_by("b", turn=0, chance=0.0)
    options = {"tiers": [["a", "b"]]} if policy == "priority" else {}
    choice = chosen(policy, fleet, query, **options)
    assert names(choice) == "ab"
    assert choice.reason.startswith("moves: ")
    assert choice.reason.endswith(", reads 1000 tokens in 10 s")


def test_a_lower_price_is_a_reason_and_the_same_price_is_none() -> None:
    free, dear = candidate("a", 1.0), candidate("b", 1.0, cached_tokens=900.0, price_input_per_mtok=1.0)
    assert names(chosen("cheapest", [free, dear], held_by("b"))) == "ab"
    same = candidate("a", 1.0, price_input_per_mtok=1.0)
    assert names(chosen("cheapest", [same, dear], held_by("b"))) == "ba"


def test_a_better_tier_is_a_reason_and_the_same_tier_is_none() -> None:
    tiers = [["a"], ["b", "c"]]
    fleet = [candidate("a", 10.0), candidate("b", 1.0), candidate("c", 1.02)]
    assert names(chosen("priority", fleet, held_by("c"), tiers=tiers)) == "abc"
    assert names(chosen("priority", fleet[1:], held_by("c"), tiers=tiers)) == "cb"
    assert names(chosen("priority", fleet, held_by("b"))) == "abc"


@pytest.mark.parametrize(("prompt", "order"), [(EASY, "abc"), (HARD, "cba")])
def test_difficulty_is_a_reason_and_of_one_model_the_one_that_holds_it_is_asked(prompt: Prompt, order: str) -> None:
    # b and c are the same model, a is a weaker one.
    fleet = [
        candidate("a", 10.0),
        candidate("b", 10.0, registry_name="strong"),
        candidate("c", 10.0, registry_name="strong", cached_tokens=900.0),
    ]
    choice = chosen("complexity", fleet, held_by("c", prompt=lambda: prompt), targets=("a", "strong"))
    assert names(choice)[0] == order[0]
    assert ("stays" if order[0] == "c" else "moves") in choice.reason
    assert "score" in choice.reason


def test_a_conversation_that_sticky_had_to_move_does_not_come_back() -> None:
    home = names(chosen("sticky", FLEET, replace(QUERY, session="talk")))
    for now in home:
        assert names(chosen("sticky", FLEET, replace(QUERY, session="talk", stays=now)))[0] == now


# The soonest: by the prediction alone.


def test_the_soonest_is_left_for_one_that_answers_sooner_with_all_to_read() -> None:
    slow, quick = candidate("a", 100.0, cached_tokens=900.0), candidate("b", 5.0)
    assert names(Fastest()([slow, quick], held_by("a"))) == "ba"
    assert names(Fastest()([slow, candidate("b", 20.0)], held_by("a"))) == "ab"


def test_a_tie_is_won_by_who_holds_it_whatever_is_drawn() -> None:
    fleet = [candidate("a", 1.0, weight=100.0), candidate("b", 1.04)]
    for chance in (0.0, 0.5, 0.999):
        assert names(Fastest()(fleet, held_by("b", chance=chance))) == "ba"
    assert names(Fastest()([fleet[0], candidate("b", 1.06)], held_by("b"))) == "ab"


def test_after_a_restart_nobody_is_tried_out_with_a_conversation() -> None:
    unseen, holds = candidate("a"), candidate("b", cached_tokens=900.0)
    for chance in (0.0, 0.999):
        assert names(Fastest()([unseen, holds], held_by("b", chance=chance))) == "ba"
    assert names(Fastest()([unseen, candidate("b", 10.0, cached_tokens=900.0)], held_by("b"))) == "ba"
    assert names(Fastest()([candidate("a", 10.0), holds], held_by("b"))) == "ba"
    # Another request waits there already, and nobody knows for how long.
    waits = candidate("b", cached_tokens=900.0, in_flight=1)
    assert names(Fastest()([unseen, waits], held_by("b"))) == "ba"


def test_who_was_not_asked_for_long_is_not_asked_again_with_a_conversation() -> None:
    fleet = [candidate("a", 10.0, judged_at=LAST_SEEN - 3600), candidate("b", 10.0, cached_tokens=900.0)]
    assert names(Fastest()(fleet, QUERY)) == "ab"
    assert names(Fastest()(fleet, held_by("b"))) == "ba"


def test_what_fails_half_of_the_time_costs_twice_as_much() -> None:
    fleet = [candidate("a", 1.5), candidate("b", 1.0, failing=0.5)]
    assert names(Fastest()(fleet, held_by("b"))) == "ab"


def test_one_that_is_left_out_does_not_keep_the_others_from_being_tried() -> None:
    assert Fastest()([candidate("a"), candidate("c", 1.0)], held_by("b")).reason == "not seen yet"
