"""Why a deployment would be passed over, in words, and that they are those that the router goes by."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.catalog import Deployment, Upstream
from moltbot_edge.core.prompt import Prompt
from moltbot_edge.core.routing import Candidate, RouteQuery, able, eligible, objections
from moltbot_edge.core.scoreboard import Standing

BOX = Upstream("box", "http", "192.168.1.20", 11434, "/v1")
MAYBE = st.sampled_from([None, True, False])
CANDIDATES = st.builds(
    Candidate,
    st.builds(
        Deployment,
        name=st.uuids().map(str),
        upstream=st.just(BOX),
        model=st.just("m"),
        context_tokens=st.none() | st.integers(1, 100),
        tools=MAYBE,
        images=MAYBE,
    ),
    st.builds(Standing, cooling_until=st.floats(0, 20)),
)


def asked(prompt: Prompt, tokens: int = 50) -> RouteQuery:
    return RouteQuery("chat", prompt_tokens=tokens, now=10.0, prompt=lambda: prompt)


def test_every_objection_is_told() -> None:
    deployment = Deployment("a", BOX, "m", context_tokens=40, tools=False, images=False)
    query = asked(Prompt("x", tools=True, images=True))
    assert objections(Candidate(deployment, Standing(cooling_until=15.0)), query) == [
        "its context is 40 tokens, the prompt has about 50",
        "cools down for another 5 s",
        "takes no tools",
        "takes no images",
    ]
    assert objections(Candidate(deployment, Standing()), asked(Prompt("x"), tokens=40)) == []


@given(st.lists(CANDIDATES, max_size=5), st.booleans(), st.booleans())
def test_who_has_no_objection_is_never_left_out(found: list[Candidate], tools: bool, images: bool) -> None:
    prompt = Prompt("x", tools=tools, images=images)
    query = asked(prompt)
    left = able(eligible(found, query), prompt)
    fine = [one for one in found if not objections(one, query)]
    assert bool(left) == bool(found)
    assert [one for one in left if one in fine] == fine
    assert not fine or list(left) == fine, "with one that nothing speaks against, nobody else is asked"
