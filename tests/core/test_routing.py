"""Who may answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from moltbot_edge.core.catalog import Deployment, Upstream
from moltbot_edge.core.ejection import Health, Out
from moltbot_edge.core.line import Line
from moltbot_edge.core.routing import Candidate, RouteQuery, eligible, last_resorts
from moltbot_edge.core.scoreboard import Standing
from moltbot_edge.core.speed import Speed

BOX = Upstream("box", "http", "192.168.1.20", 11434, "/v1")


def candidate(name: str, *, context: int | None = None, cooling_until: float = 0.0) -> Candidate:
    deployment = Deployment(name, BOX, name, context_tokens=context)
    return Candidate(deployment, Standing(cooling_until=cooling_until))


def names(candidates: list[Candidate]) -> str:
    return " ".join(each.deployment.name for each in candidates)


def test_all_may_answer_when_nothing_is_known_of_them() -> None:
    assert names(eligible([candidate("a"), candidate("b")], RouteQuery("chat", now=0.0))) == "a b"


def test_a_deployment_that_cools_down_is_left_out_until_its_time() -> None:
    both = [candidate("a", cooling_until=10.0), candidate("b")]
    assert names(eligible(both, RouteQuery("chat", now=9.9))) == "b"
    assert names(eligible(both, RouteQuery("chat", now=10.0))) == "a b"


def test_when_all_cool_down_the_one_that_is_back_soonest_is_asked() -> None:
    both = [candidate("a", cooling_until=20.0), candidate("b", cooling_until=10.0)]
    assert names(eligible(both, RouteQuery("chat", now=0.0))) == "b"


def out(name: str, why: Out, *, until: float = 10.0, unreached: bool = False, trials: int = 0) -> Candidate:
    health = Health(out=why, rest_until=until, unreached=unreached, trials=trials)
    return replace(candidate(name), standing=Standing(cooling_until=health.cooling_until, health=health))


@pytest.mark.parametrize(
    ("fleet", "left"),
    [
        ("a f1", "a"),  # half of them
        ("f2 f1", "f1"),
        ("a f1 f2", "a f1"),
        ("f3 f1 f2", "f1 f2"),
        ("a b f1 f2", "a b"),
        ("a f3 f1 f2", "a f1"),
        ("a s1 f1", "a f1"),
        ("a s1 s2", "a"),  # who does not answer at all is not among those that may stay
        ("a q1 q2", "a"),  # nor who asked to be spared
        ("s1 q2", "q2"),
        ("q2 q1", "q1"),
        ("s1 s2", "s2"),  # the one that was there last
        ("s1 t2", "t2"),
        ("f1", "f1"),
    ],
)
def test_half_of_those_that_fail_stay_and_when_nobody_is_left_the_likeliest_is_asked(fleet: str, left: str) -> None:
    """a, b: well; f: fails; s: is silent; q: asked for quiet; t: is being tried. The digit says until when."""
    whys = {"f": Out.FAILING, "s": Out.SILENT, "q": Out.ASKED, "t": Out.SILENT}
    all_of_them = [
        candidate(name)
        if name in ("a", "b")
        else out(name, whys[name[0]], until=10.0 + int(name[1]), unreached=name[0] == "s", trials=int(name[0] == "t"))
        for name in fleet.split()
    ]
    assert names(eligible(all_of_them, RouteQuery("chat", now=5.0))) == left


def test_after_all_others_those_are_asked_that_may_answer_after_all() -> None:
    fleet = [
        candidate("a"),
        out("failing-later", Out.FAILING, until=30.0),
        out("gone", Out.SILENT, unreached=True),
        out("asked", Out.ASKED),
        out("tried", Out.SILENT, trials=1),
        out("failing", Out.FAILING),
    ]
    found = last_resorts(fleet, [fleet[0].deployment], RouteQuery("chat", now=5.0))
    assert [one.name for one in found] == ["failing", "failing-later", "tried"]


def test_a_context_that_is_too_short_is_left_out() -> None:
    three = [candidate("short", context=1000), candidate("long", context=8000), candidate("unknown")]
    assert names(eligible(three, RouteQuery("chat", prompt_tokens=1000))) == "short long unknown"
    assert names(eligible(three, RouteQuery("chat", prompt_tokens=1001))) == "long unknown"


def test_when_every_context_seems_too_short_the_estimate_is_not_believed() -> None:
    both = [candidate("a", context=1000), candidate("b", context=2000)]
    assert names(eligible(both, RouteQuery("chat", prompt_tokens=9000))) == "a b"


def test_a_long_prompt_waits_for_nobody_it_goes_to_the_long_context_that_cools_down() -> None:
    both = [candidate("short", context=1000), candidate("long", context=8000, cooling_until=10.0)]
    assert names(eligible(both, RouteQuery("chat", prompt_tokens=5000))) == "long"


def test_of_no_deployment_nothing_is_left() -> None:
    assert eligible([], RouteQuery("chat", now=0.0)) == []


@given(
    st.lists(st.tuples(st.none() | st.integers(1, 100), st.floats(0, 100))),
    st.integers(0, 100),
    st.floats(0, 100),
)
def test_some_of_the_same_remain_in_their_order(known: list[tuple[int | None, float]], prompt: int, now: float) -> None:
    all_of_them = [candidate(str(i), context=context, cooling_until=until) for i, (context, until) in enumerate(known)]
    left = [each.deployment.name for each in eligible(all_of_them, RouteQuery("chat", prompt_tokens=prompt, now=now))]
    assert left == sorted(set(left), key=int)
    assert bool(left) == bool(known)


SPEED = Speed(Line(base=0.2, slope=0.01, weight=1.0), decode_s=0.05, reply_s=3.0)
QUERY = RouteQuery("chat", prompt_tokens=100, now=50.0)


def seen(standing: Standing, prompt_tokens: float | None = None, cached_tokens: float = 0.0) -> Candidate:
    return Candidate(candidate("a").deployment, standing, prompt_tokens, cached_tokens)


@pytest.mark.parametrize(
    ("one", "seconds"),
    [
        (seen(Standing()), None),
        (seen(Standing(speed=SPEED)), 0.2 + 100 * 0.01 + 0.05),
        (seen(Standing(speed=SPEED), 300), 0.2 + 300 * 0.01 + 0.05),
        (seen(Standing(speed=SPEED), 300, 250), 0.2 + 50 * 0.01 + 0.05),
        (seen(Standing(speed=SPEED), 300, 900), 0.2 + 1 * 0.01 + 0.05),
        (seen(Standing(in_flight=1, owed_s=4.0, since=50.0, speed=SPEED)), 4.0 + 1.25),
        (seen(Standing(in_flight=1, owed_s=4.0, since=47.0, speed=SPEED)), 1.0 + 1.25),
        (seen(Standing(in_flight=1, owed_s=4.0, since=50.0, speed=replace(SPEED, crowding=0.0))), 1.25),
        (seen(Standing(speed=replace(SPEED, slowness=4.0, slow_at=50.0))), 4 * 1.25),
    ],
)
def test_the_first_token_is_expected_after_the_queue_the_prompt_and_one_token(
    one: Candidate, seconds: float | None
) -> None:
    found = one.first_token_s(QUERY)
    assert found == seconds if seconds is None else found == pytest.approx(seconds)


def test_a_whole_reply_is_expected_without_the_queue() -> None:
    assert seen(Standing()).alone_s(QUERY) is None
    assert seen(Standing(in_flight=3, owed_s=9.0, speed=SPEED)).alone_s(QUERY) == pytest.approx(1.25 + 3.0)


def test_a_context_is_held_against_the_models_own_count() -> None:
    short = candidate("short", context=1000)
    query = RouteQuery("chat", prompt_tokens=1500)
    assert names(eligible([candidate("long"), short], query)) == "long"
    assert names(eligible([candidate("long"), replace(short, prompt_tokens=900.0)], query)) == "long short"
