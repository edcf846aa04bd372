"""Why a request would go where it goes, for people: how hard it looks, who would be asked, what speaks against whom.

Told by ``POST /admin/router/explain`` and by ``moltbot-edge router explain``, which asks a gateway that runs, or makes
up one that has just started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from moltbot_edge.core.catalog import Catalog
from moltbot_edge.core.difficulty import Difficulty, difficulty
from moltbot_edge.core.experience import ALL, expected
from moltbot_edge.core.routing import Candidate, RouteQuery, objections
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.dialects import Dialects
from moltbot_edge.gateway.plan import Choosing, Planner
from moltbot_edge.gateway.sessions import Sessions

PATH = "/v1/chat/completions"


class Explained(msgspec.Struct, frozen=True):
    """One deployment. *place* is when it would be tried, from 1; *first_token_s* what is predicted, of which *ready_s*
    are the loading of an engine's model. Of the prompt it is thought to hold *cached_tokens*.

    *expected_good* is None where nothing at all is known of the model's answers.
    """

    deployment: str
    place: int | None
    ruled_out: Sequence[str]
    first_token_s: float | None
    ready_s: float
    in_flight: int
    answers_known: float
    expected_good: float | None
    cached_tokens: int = 0


class Explanation(msgspec.Struct, frozen=True):
    """*instead* are the models asked before any of the deployments, as all of those are left out after failures."""

    alias: str
    policy: str
    characters: int
    turns: int
    prompt_tokens: int
    tools: bool
    images: bool
    score: float
    signs: Mapping[str, float]
    cohort: str
    reason: str
    deployments: Sequence[Explained]
    instead: Sequence[str] = ()


def asked(body: bytes, dialects: Dialects, key: str = "") -> Request:
    """*body* is a chat as OpenAI's callers send it. Raises `InvalidRequest`."""
    dialect = dialects.made("openai-chat")
    return Request(dialect, PATH, dialect.head(PATH, b"application/json", body), body, key=key)


async def explained_in_session(
    request: Request, sessions: Sessions, catalog: Catalog, dialects: Dialects, planner: Planner
) -> Explanation:
    """As `explained`, with what was said before where *request* asks for a session. Nobody is kept waiting by it."""
    if not sessions.wants(request):
        return explained(request, catalog, dialects, planner)
    request.head = replace(request.head, appends=False)
    async with sessions.conversation(request):
        return explained(request, catalog, dialects, planner)


def explained(request: Request, catalog: Catalog, dialects: Dialects, planner: Planner) -> Explanation:
    """Raises what it would be answered: an unknown model."""
    route = dialects.able(catalog.route(request.head.model), request)
    choosing = planner.choosing(route, request)
    prompt = request.prompt()
    looks = difficulty(prompt)
    return Explanation(
        alias=route.alias,
        policy=route.policy,
        characters=prompt.chars,
        turns=prompt.turns,
        prompt_tokens=choosing.query.prompt_tokens,
        tools=prompt.tools,
        images=prompt.images,
        score=looks.score,
        signs={sign.name: sign.most * sign.found for sign in looks.signs if sign.found},
        cohort=looks.cohort,
        reason=choosing.choice.reason,
        deployments=[_explained(one, choosing, looks) for one in choosing.every],
        instead=request.head.fallbacks or route.fallbacks if planner.rests(route) else (),
    )


def _explained(candidate: Candidate, choosing: Choosing, looks: Difficulty) -> Explained:
    deployment, query = candidate.deployment, choosing.query
    names = [one.deployment.name for one in choosing.choice.order]
    place = names.index(deployment.name) + 1 if deployment.name in names else None
    known = query.tallies(deployment.shared_name, looks.cohort)
    overall = query.tallies(deployment.shared_name, ALL)
    return Explained(
        deployment=deployment.name,
        place=place,
        # One that is tried all the same is what is left where all others were worse.
        ruled_out=[] if place is not None else _why_not(candidate, choosing, query),
        first_token_s=candidate.first_token_s(query),
        ready_s=candidate.ready_s,
        in_flight=candidate.standing.in_flight,
        answers_known=known.seen,
        expected_good=expected(known, overall) if overall.seen else None,
        cached_tokens=round(candidate.cached_tokens),
    )


def _why_not(candidate: Candidate, choosing: Choosing, query: RouteQuery) -> list[str]:
    if candidate.deployment not in [one.deployment for one in choosing.candidates]:
        return ["not on the LAN, where a private one cannot be asked"]
    return objections(candidate, query) or ["the policy leaves it out"]
