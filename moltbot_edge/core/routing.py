"""Who may answer, and the seam for policies. A policy puts candidates in order; the exchange tries them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.ejection import Out, most_out
from moltbot_edge.core.experience import Tallies, nothing
from moltbot_edge.core.prefixes import opening
from moltbot_edge.core.prompt import Prompt
from moltbot_edge.core.scoreboard import Standing


class Candidate(msgspec.Struct, frozen=True):
    """A deployment and what is known of it right now.

    *prompt_tokens* is the request's size as this model counts, None where that is the query's own estimate;
    *cached_tokens* of them it is thought to hold already, or once *ready_s* have passed: an engine of this board may
    have to load its model, and what was saved of the conversation. *narrow*: a kept one is longer than it takes, and
    would be cut for it.
    """

    deployment: Deployment
    standing: Standing
    prompt_tokens: float | None = None
    cached_tokens: float = 0.0
    ready_s: float = 0.0
    narrow: bool = False

    def first_token_s(self, query: RouteQuery) -> float | None:
        """When the first token is to be expected: load + queue + (prompt - cached) / prefill rate + 1 / decode rate.

        None where nothing has been learned yet.
        """
        standing = self.standing
        if not standing.speed.known:
            return None
        seconds = self.ready_s + standing.speed.first_token_s(self.to_read(query), query.now)
        return standing.wait_s(query.now) + seconds if standing.in_flight else seconds

    def alone_s(self, query: RouteQuery) -> float | None:
        """What a whole reply will take, with no other request in the way."""
        speed = self.standing.speed
        return speed.first_token_s(self.to_read(query), query.now) + speed.reply_s if speed.known else None

    def tokens(self, query: RouteQuery) -> float:
        """Of the prompt, as this model counts."""
        return query.prompt_tokens if self.prompt_tokens is None else self.prompt_tokens

    def to_read(self, query: RouteQuery) -> float:
        """The tokens of the prompt that it does not hold; never more than its context takes."""
        context, tokens = self.deployment.context_tokens, self.tokens(query)
        if context is not None and tokens > context:
            tokens = context
        read = tokens - self.cached_tokens
        return read if read > 1.0 else 1.0


class RouteQuery(msgspec.Struct, frozen=True):
    """What a policy may know of a request.

    *prompt_tokens* is an estimate from the body's size. *turn* counts the route's requests from 0.
    *chance* is uniform in [0, 1): a policy asks for no randomness of its own, so a test can say what comes.
    *prompt* reads what is asked, once it is called: a policy that does not look costs nothing. *body* is the request
    as it came. *now* is `time.monotonic` seconds, as in the standings. *deployments* are all of the route, also those
    that cannot be asked now; *tallies* tells what became of requests like this one, where that is kept.
    *stays* is the deployment that answered a kept conversation last, where it is one of the route.
    """

    alias: str
    prompt_tokens: int = 0
    session: str | None = None
    turn: int = 0
    chance: float = 0.0
    prompt: Callable[[], Prompt] = Prompt
    body: bytes | bytearray = b""
    now: float = 0.0
    deployments: Sequence[Deployment] = ()
    tallies: Tallies = nothing
    stays: str | None = None

    def opening(self) -> bytes:
        """What begins a conversation, system prompt and first question: the same in each of its requests."""
        return opening(self.body)


class Choice(msgspec.Struct, frozen=True):
    """An order and the *reason* for it, which a reply's header says: a few words, in ASCII.

    *cohort* names the kind of request, where the policy wants to know what becomes of its choice. The first *equal* of
    the order are as good as each other, by what the policy goes by: a kept conversation that one of them holds stays
    there (`core.staying`). A policy that only spreads requests says so of all of them.
    """

    order: Sequence[Candidate]
    reason: str = ""
    cohort: str | None = None
    equal: int = 1


class Policy(Protocol):
    def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate] | Choice:
        """The candidates in the order in which to try them. Leaving one out is allowed; adding is not."""
        ...


def eligible(candidates: Sequence[Candidate], query: RouteQuery) -> list[Candidate]:
    """Drop deployments that are left out after failures (`core.ejection`) or whose context is too short.

    Order is kept. Of those that answer, but not well, no more than half are dropped: so many at once say more of the
    requests, or of our own network. The size of the prompt is an estimate and a cooldown a guess, so neither empties
    the list: with all too short, all stay, and with all cooling, the one that is likeliest to answer.
    """
    now = query.now
    wide = [
        candidate
        for candidate in candidates
        if (candidate.deployment.context_tokens is None and not candidate.narrow) or fits(candidate, query)
    ] or candidates
    ready = [candidate for candidate in wide if candidate.standing.cooling_until <= now]
    if len(ready) == len(wide):
        return ready
    resting = [candidate for candidate in wide if candidate.standing.cooling_until > now]
    stay = len(resting) - most_out(len(wide))
    if stay > 0:
        failing = [
            one for one in resting if one.standing.health.out is Out.FAILING and not one.standing.health.unreached
        ]
        failing.sort(key=_rest)
        kept = {id(candidate) for candidate in failing[:stay]}
        if kept:
            return [one for one in wide if one.standing.cooling_until <= now or id(one) in kept]
    return ready or sorted(resting, key=_rest)[:1]


def last_resorts(candidates: Sequence[Candidate], chosen: Sequence[Deployment], query: RouteQuery) -> list[Deployment]:
    """Who may be asked once all that were *chosen* have failed, the likeliest to answer first.

    Not those that asked to be spared, and not those that cannot be reached: that would cost the caller a time limit.
    """
    names = {deployment.name for deployment in chosen}
    resting = [
        one
        for one in candidates
        if one.standing.cooling_until > query.now
        and one.deployment.name not in names
        and not one.standing.health.unreached
        and one.standing.health.out is not Out.ASKED
        and fits(one, query)
    ]
    return [one.deployment for one in sorted(resting, key=_rest)]


def _rest(candidate: Candidate) -> tuple[bool, bool, float]:
    """For sorting: who is back soonest; then who is being tried; then who was not to be reached, the latest first."""
    health = candidate.standing.health
    until = candidate.standing.cooling_until
    if health.unreached:
        return True, False, -health.rest_until
    return False, until == math.inf, health.rest_until if until == math.inf else until


def able(candidates: Sequence[Candidate], prompt: Prompt) -> Sequence[Candidate]:
    """Drop deployments that are said not to take what comes with this prompt: tools, images.

    Order is kept. Where none is left, all stay: the upstream's own words are better than ours.
    """
    if prompt.tools:
        candidates = [one for one in candidates if one.deployment.tools is not False] or candidates
    if prompt.images:
        candidates = [one for one in candidates if one.deployment.images is not False] or candidates
    return candidates


def objections(candidate: Candidate, query: RouteQuery) -> list[str]:
    """Why it would be passed over, in words for people: what `eligible` and `able` go by."""
    deployment, prompt = candidate.deployment, query.prompt()
    found = []
    if candidate.narrow:
        found.append("its context is too short for all of the conversation, of which it would be sent the end")
    elif not fits(candidate, query):
        tokens = candidate.tokens(query)
        found.append(f"its context is {deployment.context_tokens} tokens, the prompt has about {tokens:.0f}")
    standing = candidate.standing
    if standing.health.unreached:
        found.append("does not answer; a probe will find it when it does")
    elif standing.cooling_until == math.inf:
        found.append("is being tried again, by one request")
    elif standing.cooling_until > query.now:
        found.append(f"cools down for another {standing.cooling_until - query.now:.0f} s")
    if prompt.tools and deployment.tools is False:
        found.append("takes no tools")
    if prompt.images and deployment.images is False:
        found.append("takes no images")
    return found


def fits(candidate: Candidate, query: RouteQuery) -> bool:
    """Whether its context is long enough, as far as that is known."""
    context = candidate.deployment.context_tokens
    return not candidate.narrow and (context is None or candidate.tokens(query) <= context)
