"""Who may answer, and the seam for policies. A policy puts candidates in order; the exchange tries them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.prompt import Prompt
from moltbot_edge.core.scoreboard import Standing


class Candidate(msgspec.Struct, frozen=True):
    """A deployment and what is known of it right now."""

    deployment: Deployment
    standing: Standing


class RouteQuery(msgspec.Struct, frozen=True):
    """What a policy may know of a request.

    *prompt_tokens* is an estimate from the body's size. *turn* counts the route's requests from 0.
    *chance* is uniform in [0, 1): a policy asks for no randomness of its own, so a test can say what comes.
    *prompt* reads what is asked, once it is called: a policy that does not look costs nothing.
    """

    alias: str
    prompt_tokens: int = 0
    session: str | None = None
    turn: int = 0
    chance: float = 0.0
    prompt: Callable[[], Prompt] = Prompt


class Choice(msgspec.Struct, frozen=True):
    """An order and the *reason* for it, which a reply's header says: a few words, in ASCII.

    *cohort* names the kind of request, where the policy wants to know what becomes of its choice.
    """

    order: Sequence[Candidate]
    reason: str = ""
    cohort: str | None = None


class Policy(Protocol):
    def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate] | Choice:
        """The candidates in the order in which to try them. Leaving one out is allowed; adding is not."""
        ...


def eligible(candidates: Sequence[Candidate], query: RouteQuery, now: float) -> list[Candidate]:
    """Drop deployments that are cooling down or whose context is too short.

    *now* is `time.monotonic` seconds. Order is kept. *prompt_tokens* is an estimate and a cooldown a guess, so
    neither empties the list: with all too short, all stay, and with all cooling, the one that is back soonest.
    """
    wide = [
        candidate
        for candidate in candidates
        if (context := candidate.deployment.context_tokens) is None or query.prompt_tokens <= context
    ] or list(candidates)
    ready = [candidate for candidate in wide if candidate.standing.cooling_until <= now]
    return ready or sorted(wide, key=lambda candidate: candidate.standing.cooling_until)[:1]
