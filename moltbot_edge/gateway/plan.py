"""Which deployments are asked for a request, and in what order: the policy's choice, made fit to be carried out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from moltbot_edge.core import prefixes, routing
from moltbot_edge.core.catalog import Deployment, Route
from moltbot_edge.core.errors import Overloaded
from moltbot_edge.core.routing import Candidate, Choice, Policy, RouteQuery
from moltbot_edge.core.staying import settled
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.experience import Experience
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.metrics.catalogue import Metrics

if TYPE_CHECKING:  # imported at the first request that asks for a session
    from moltbot_edge.gateway.conversation import Conversation

if TYPE_CHECKING:  # it is there only on a board that runs models
    from moltbot_edge.gateway.foresight import Foresights

EVEN_CHANCE = 0.5  # where nothing may be drawn
LEFT_OUT_S = 5.0  # until a policy may see it otherwise

log = logging.getLogger(__name__)


class Plan(msgspec.Struct, frozen=True):
    """What a policy chose, as the exchange carries it out. *reason* is fit for a header.

    *why* is the metric's word for how it came about; None where there was nothing to decide.
    """

    order: Sequence[Deployment]
    reason: bytes = b""
    cohort: str | None = None
    why: str | None = None


class Choosing(msgspec.Struct, frozen=True):
    """A choice and what it was made from: *every* deployment of the route, and those that may be asked at all."""

    query: RouteQuery
    every: Sequence[Candidate]
    candidates: Sequence[Candidate]
    choice: Choice


class Planner:
    """*policies* are by alias. *guarded* are the aliases that stay at home, with their number of private deployments
    (`gateway.home`). *foresights* tell what a request would find at engines of this board. *now* is
    `time.monotonic`, *chance* gives a number in [0, 1)."""

    def __init__(
        self,
        policies: Mapping[str, Policy],
        standings: Standings,
        experience: Experience,
        metrics: Metrics,
        now: Callable[[], float],
        chance: Callable[[], float],
        guarded: Mapping[str, int] = MappingProxyType({}),
        foresights: Foresights | None = None,
    ) -> None:
        self.foresights = foresights  # may come later, with the first engine
        self.cuts: Callable[[Request, Deployment], bool] | None = None  # whether a conversation is longer than it takes
        self._guarded = guarded
        self._policies = policies
        self._standings = standings
        self._experience = experience
        self._metrics = metrics
        self._now = now
        self._chance = chance
        self._turns = dict.fromkeys(policies, 0)

    def prompt_tokens(self, model: str, request: Request) -> float:
        """An estimate, as *model* counts."""
        conversation = request.conversation
        if conversation is not None and conversation.held.tokens:
            return conversation.held.tokens
        return self._standings.prompt_tokens(model, len(request.body))

    def rests(self, route: Route) -> bool:
        """Whether all of its deployments are left out after failures, so that asking one would only cost time."""
        return self._standings.rest(route.deployments, self._now())

    def candidates(
        self, deployments: Sequence[Deployment], request: Request, marks: Sequence[int]
    ) -> Sequence[Candidate]:
        conversation = request.conversation
        held = None if conversation is None else conversation.held
        candidates = self._standings.candidates(deployments, len(request.body), marks, held)
        if conversation is not None and self.cuts is not None and len(candidates) > 1:
            candidates = [
                msgspec.structs.replace(one, narrow=True) if self.cuts(request, one.deployment) else one
                for one in candidates
            ]
        return candidates if self.foresights is None else self.foresights.of(candidates, request)

    def plan(self, route: Route, request: Request, marks: Sequence[int]) -> Plan:
        private = self._guarded.get(route.alias, 0) if self._guarded else 0
        if len(route.deployments) == 1 and not private:
            return Plan(route.deployments)
        turn = self._turns[route.alias]
        self._turns[route.alias] = turn + 1
        query, candidates, ready = self._seen(route, request, marks, turn, self._chance())
        self._metrics.candidates.cell(route.alias).set(len(ready))
        try:
            choice = self._choice(route, candidates, ready, query)
            order = [candidate.deployment for candidate in choice.order]
            if len(order) > len(ready):
                raise ValueError(f"{len(ready)} candidates made an order of {len(order)}")
            if order and len(ready) < len(candidates):
                order += routing.last_resorts(candidates, order, query)
            if private:
                order = _after_private(order)
            plan = Plan(
                order,
                _printable(choice.reason),
                choice.cohort,
                _why(ready, order, query),
            )
        except Exception:  # a plug-in's fault must not cost an answer: its log says so, and the order stays as it was
            log.exception("the policy %r failed for %r", route.policy, route.alias)
            order = [candidate.deployment for candidate in routing.eligible(candidates, query)]
            if private:
                order = _after_private(order)
            return Plan(order, b"the policy failed", None, "unordered")
        if not plan.order:
            message = f"the policy {route.policy!r} leaves no deployment of {route.alias!r} to ask"
            raise Overloaded(message, retry_after_s=LEFT_OUT_S)
        return plan

    def choosing(self, route: Route, request: Request) -> Choosing:
        """What would be chosen right now. Nothing is changed by it."""
        marks = prefixes.marks(request.body)
        every = self.candidates(route.deployments, request, marks)
        query, candidates, ready = self._seen(route, request, marks, self._turns.get(route.alias, 0), EVEN_CHANCE)
        alone = len(route.deployments) == 1
        choice = Choice(every, "there is only one") if alone else self._choice(route, every, ready, query)
        return Choosing(query, every, candidates, choice)

    def _seen(
        self, route: Route, request: Request, marks: Sequence[int], turn: int, chance: float
    ) -> tuple[RouteQuery, Sequence[Candidate], list[Candidate]]:
        """What the policy is asked, who might answer, and who of them can be asked now."""
        candidates = self.candidates(route.deployments, request, marks)
        query = RouteQuery(
            route.alias,
            int(candidates[0].prompt_tokens or 0),
            request.head.session,
            turn,
            chance,
            request.prompt,
            request.body,
            self._now(),
            route.deployments,
            self._experience.tallies(route.alias),
            None if request.conversation is None else _stays(request.conversation, route),
        )
        ready = routing.eligible(candidates, query)
        private = self._guarded.get(route.alias, 0) if self._guarded else 0
        if private and sum(one.deployment.private for one in ready) < private:
            from moltbot_edge.gateway.home import at_home  # seldom needed, here and below

            candidates = at_home(candidates)
            ready = routing.eligible(candidates, query)
        return query, candidates, ready

    def _choice(
        self, route: Route, every: Sequence[Candidate], ready: Sequence[Candidate], query: RouteQuery
    ) -> Choice:
        said = self._policies[route.alias](ready, query)
        choice = said if isinstance(said, Choice) else Choice(said)
        return choice if query.stays is None else settled(choice, every, query)


def _why(ready: Sequence[Candidate], order: Sequence[Deployment], query: RouteQuery) -> str:
    if query.stays is not None and order:
        return "stays" if order[0].name == query.stays else "moves"
    return "policy" if len(ready) > 1 else "left"


def _stays(conversation: Conversation, route: Route) -> str | None:
    """Who answered last, if it is one of *route*."""
    last = conversation.held.by
    return last if any(one.name == last for one in route.deployments) else None


def _after_private(order: Sequence[Deployment]) -> list[Deployment]:
    from moltbot_edge.gateway.home import after_private

    return after_private(order)


def _printable(text: str) -> bytes:
    """A plug-in's words: no line's end among them may begin another header."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(one if one.isprintable() else " " for one in text).encode("ascii", "replace")
