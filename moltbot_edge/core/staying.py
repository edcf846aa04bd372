"""Whether a kept conversation goes on where it is, and what it costs to move it. Values; the policy has the first word.

Who answered last holds the whole conversation in its cache. Anybody else reads all of it again, and on a small board
that is the time to the first token. So where a policy has no reason of its own to prefer its first choice, the
conversation stays, as long as that is not the longer wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from moltbot_edge.core.line import Line
from moltbot_edge.core.routing import Candidate, Choice, RouteQuery, fits
from moltbot_edge.core.speed import Speed

if TYPE_CHECKING:  # it is there only where conversations are kept
    from moltbot_edge.core.events import Usage
    from moltbot_edge.core.session import Turn

TIE = 1.05  # times as long a wait is no longer one: predictions are not better than that
BYTES_PER_TOKEN = 4  # of what is new
LEAST_LOAD_S = 0.1  # worth a word
SMALL_BOARD = Speed(Line(0.0, 1 / 200, 1.0))  # while nothing is known of anybody: 200 tokens a second of a small model


def settled(choice: Choice, every: Sequence[Candidate], query: RouteQuery) -> Choice:
    """*choice*, with the conversation where it is, unless that would be against the policy's reason.

    Its reason says then that it stays, or why it moves and what that costs. *every* are all of the route, also those
    that cannot be asked now.
    """
    order = choice.order
    if not order:
        return choice
    first = order[0]
    last = next((one for one in order if one.deployment.name == query.stays), None)
    reason = choice.reason
    if last is not None and (last is first or _may_stay(last, choice, query)):
        order = (last, *(one for one in order if one is not last))
        told = "stays: holds the conversation"
        return replace(choice, order=order, reason=f"{told}, {reason}" if reason and last is first else told)
    if last is None:
        reason = _why_not(next((one for one in every if one.deployment.name == query.stays), None), query) or reason
    elif any(one is last for one in order[: choice.equal]):
        reason = f"{first.deployment.name} answers sooner"
    cost = _cost(first, query)
    return replace(choice, reason=f"moves: {reason}, {cost}" if reason else f"moves: {cost}")


def _may_stay(last: Candidate, choice: Choice, query: RouteQuery) -> bool:
    """It is as good by the policy's reason, and does not wait longer than the switch takes."""
    if not any(one is last for one in choice.order[: choice.equal]):
        return False
    otherwise = known_speed(last, choice.order)
    stay_s, move_s = (
        first_token_s(one, query, otherwise) / one.standing.success(query.now) for one in (last, choice.order[0])
    )
    return stay_s <= move_s * TIE


def _why_not(last: Candidate | None, query: RouteQuery) -> str | None:
    """None: the policy has left it out."""
    if last is None or last.standing.cooling_until > query.now:
        return f"{query.stays} cannot be asked"
    return None if fits(last, query) else f"too long for {query.stays}"


def _cost(first: Candidate, query: RouteQuery) -> str:
    read = first.to_read(query)
    speed = first.standing.speed
    seconds = f" in {read * speed.reading.slope:.2g} s" if speed.known else ""
    load = f", loads for {first.ready_s:.2g} s" if first.ready_s >= LEAST_LOAD_S else ""
    return f"reads {read:.0f} tokens{seconds}{load}"


def known_speed(last: Candidate, candidates: Sequence[Candidate]) -> Speed:
    """What one is taken for of which nothing is known: as fast as who answered last, or as anybody."""
    for one in (last, *candidates):
        if one.standing.speed.known:
            return one.standing.speed
    return SMALL_BOARD


def first_token_s(candidate: Candidate, query: RouteQuery, otherwise: Speed) -> float:
    """As the candidate's own; where nothing has been learned of it, with *otherwise* for its speed."""
    if not candidate.standing.speed.known:
        candidate = replace(candidate, standing=replace(candidate.standing, speed=otherwise))
    return candidate.first_token_s(query) or 0.0


class Held:
    """What the turns of a kept conversation tell of its prompt. *before* is its path, *new_bytes* is what comes now.

    *by* answered last, if anybody did. *tokens* are those of the whole as that one counts, 0 where it did not.
    """

    def __init__(self, before: Sequence[Turn], new_bytes: int) -> None:
        self.by: str | None = None
        self.tokens = 0.0
        self._last: dict[
            str, tuple[int, float]
        ] = {}  # of each deployment: what it was left with, and how much proved true
        self._cut: set[str] = set()
        latest: dict[str, Usage | None] = {}
        known: set[str] = set()
        for turn in reversed(before):  # the last two that somebody counted tell all of him
            name, usage = turn.deployment, turn.usage
            if not name or name in known:  # without one it is its caller's alone
                continue
            if name not in latest:
                latest[name] = None
                if turn.cut is not None:
                    self._cut.add(name)
                if self.by is None:
                    self.by = name
                    if usage is not None and turn.cut is None:
                        self.tokens = usage.input_tokens + usage.output_tokens + new_bytes / BYTES_PER_TOKEN
            if usage is None:
                continue
            whole, last = usage.input_tokens + usage.output_tokens, latest[name]
            if last is None:
                latest[name] = usage
                self._last[name] = whole, 1.0
                continue
            known.add(name)
            if whole:
                self._last[name] = self._last[name][0], min(last.cached_tokens / whole, 1.0)

    def cached_tokens(self, name: str, hits: float) -> float:
        """What *name* was left with, its last prompt and its reply, as far as such turned out to be cached.

        *hits* is that share; 0 where it is not known, as after a restart: then it is what the turns show. What nobody
        has tested is believed.
        """
        whole, shown = self._last.get(name, (0, 0.0))
        return whole * (hits or shown)

    def was_cut(self, name: str) -> bool:
        """Whether *name* was last sent less than the whole."""
        return name in self._cut
