"""Candidates in a row, as the tests of the policies want them: named by one letter, and as quick as said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from moltbot_edge.api import Candidate, Choice, Deployment, RouteQuery, Standing, Upstream
from moltbot_edge.core.line import Line
from moltbot_edge.core.speed import Speed

LAST_SEEN = 1000.0
QUERY = RouteQuery("chat", prompt_tokens=1000, now=LAST_SEEN)


def speed(first_token_s: float, reply_s: float = 1.0, *, tokens: float = 1000.0, **known: Any) -> Speed:
    """Of a deployment that reads so many tokens in so many seconds."""
    return Speed(Line(0.0, first_token_s / tokens, 1.0), reply_s=reply_s, lessons=10, **known)


def candidate(
    name: str,
    first_token_s: float | None = None,
    *,
    in_flight: int = 0,
    work_s: float = 1.0,
    failing: float = 0.0,
    cached_tokens: float = 0.0,
    last_seen: float | None = LAST_SEEN,
    judged_at: float = LAST_SEEN,
    crowding: float = 1.0,
    **deployment: Any,
) -> Candidate:
    """*first_token_s* is of `QUERY`, on an idle deployment; None: never seen. *in_flight* began just now."""
    upstream = Upstream(f"{name}:11434", "http", name, 11434, "/v1")
    known = Speed() if first_token_s is None else speed(first_token_s, crowding=crowding)
    standing = Standing(
        in_flight=in_flight,
        last_seen=last_seen if first_token_s is not None else None,
        owed_s=in_flight * work_s,
        since=LAST_SEEN,
        failing=failing,
        judged_at=judged_at,
        speed=known,
    )
    return Candidate(Deployment(name, upstream, "m", **deployment), standing, None, cached_tokens)


def names(order: Sequence[Candidate] | Choice) -> str:
    return "".join(one.deployment.name for one in (order.order if isinstance(order, Choice) else order))


def fleets() -> st.SearchStrategy[list[Candidate]]:
    """Any state that several deployments may be in."""
    one = st.builds(
        candidate,
        st.just("x"),
        st.none() | st.floats(0.001, 1000.0),
        in_flight=st.integers(0, 20),
        work_s=st.floats(0.01, 100.0),
        failing=st.floats(0.0, 1.0),
        cached_tokens=st.floats(0.0, 2000.0),
        last_seen=st.floats(0.0, LAST_SEEN),
        judged_at=st.floats(0.0, LAST_SEEN),
        crowding=st.floats(0.0, 3.0),
        weight=st.floats(0.01, 100.0),
        price_input_per_mtok=st.floats(0.0, 100.0),
        price_output_per_mtok=st.floats(0.0, 100.0),
    )
    return st.lists(one, max_size=8).map(_named)


def _named(fleet: list[Candidate]) -> list[Candidate]:
    return [
        replace(one, deployment=replace(one.deployment, name=chr(ord("a") + place))) for place, one in enumerate(fleet)
    ]
