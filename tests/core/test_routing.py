"""Who may answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.catalog import Deployment, Upstream
from moltbot_edge.core.routing import Candidate, RouteQuery, eligible
from moltbot_edge.core.scoreboard import Standing

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
