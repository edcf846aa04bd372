"""What is known of all deployments: the one copy that changes. The knowledge itself is values of `core.scoreboard`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.ejection import Out
from moltbot_edge.core.events import Outcome
from moltbot_edge.core.line import Line
from moltbot_edge.core.prefixes import Prefixes
from moltbot_edge.core.routing import Candidate
from moltbot_edge.core.scoreboard import Standing
from moltbot_edge.core.speed import Sent
from moltbot_edge.core.staying import Held

BYTES_PER_TOKEN = 4  # of a JSON body with English text, until replies have told
MOST_BYTES_PER_TOKEN = 16  # more is a picture in base64, which says nothing of text
MOST_MODELS = 1_000  # whose tokens are counted: behind a pattern, a name may be a caller's invention
_FRESH = Standing()
_NOBODY_SAID = Line()


def heard_by_nobody(deployment: Deployment, why: Out) -> None:
    """Where nobody wants to know who is left out."""


class Standings:
    """By deployments' names. *marks* are of `core.prefixes`, of the request's body; *held* is what the turns of a kept
    conversation tell.

    *on_out* is told of each deployment that is left out after failures, and of each one whose trial failed; *probed*
    says whether somebody will find out when it can be reached again.
    """

    def __init__(self, on_out: Callable[[Deployment, Out], None] = heard_by_nobody, *, probed: bool = False) -> None:
        self._on_out = on_out
        self._probed = probed
        self._standings: dict[str, Standing] = {}
        self._tokens: dict[str, Line] = {}  # by model: tokens of a prompt by its body's bytes
        self._prefixes: dict[str, Prefixes] = {}

    def of(self, name: str) -> Standing:
        return self._standings.get(name, _FRESH)

    def rest(self, deployments: Sequence[Deployment], now: float) -> bool:
        """Whether none of them can be asked now."""
        return all(self.of(one.name).cooling_until > now for one in deployments)

    def prompt_tokens(self, model: str, body_bytes: int) -> float:
        line = self._tokens.get(model)
        return body_bytes / BYTES_PER_TOKEN if line is None else line.at(body_bytes)

    def candidates(
        self, deployments: Sequence[Deployment], body_bytes: int, marks: Sequence[int] = (), held: Held | None = None
    ) -> list[Candidate]:
        standings = self._standings
        found = []
        for deployment in deployments:
            name = deployment.name
            standing = standings.get(name, _FRESH)
            if held is not None and held.tokens:
                prompt_tokens = held.tokens
            else:
                prompt_tokens = self.prompt_tokens(deployment.model, body_bytes)
            speed = standing.speed
            cached_tokens = speed.always_cached
            if speed.cache_hits and marks:
                cacheable = self._cacheable(name, body_bytes, prompt_tokens, marks)
                cached_tokens = max(cached_tokens, cacheable * speed.cache_hits)
            if held is not None:
                cached_tokens = max(cached_tokens, min(held.cached_tokens(name, speed.cache_hits), prompt_tokens))
            found.append(Candidate(deployment, standing, prompt_tokens, cached_tokens))
        return found

    def started(
        self,
        deployment: Deployment,
        body_bytes: int,
        marks: Sequence[int],
        now: float,
        held: Held | None = None,
        *,
        whole: bool = True,
    ) -> Sent:
        """A request goes there; what is expected of it is for `ended` or `left`, one of which has to follow.

        *whole* False: the conversation was cut, to so many bytes.
        """
        name = deployment.name
        standing = self._standings.get(name, _FRESH)
        speed = standing.speed
        if held is not None and held.tokens and whole:
            tokens = held.tokens
        else:
            tokens = self.prompt_tokens(deployment.model, body_bytes)
        cacheable, mark = 0.0, 0
        if marks:
            cacheable, mark = self._cacheable(name, body_bytes, tokens, marks), marks[-1]
            self._prefixes.setdefault(name, Prefixes()).keep(marks, body_bytes)
        cached = cacheable * speed.cache_hits
        if held is not None:
            cacheable = max(cacheable, min(held.cached_tokens(name, 1.0), tokens))
            cached = max(cached, min(held.cached_tokens(name, speed.cache_hits), tokens))
        read = tokens - (cached if cached > speed.always_cached else speed.always_cached)
        if read < 1.0:
            read = 1.0
        queue_s = standing.queue_s(now) if standing.in_flight else 0.0
        if speed.reading.weight:
            first_token_s = speed.first_token_s(read, now)
            sent = Sent(
                body_bytes,
                tokens,
                cacheable,
                read,
                first_token_s + queue_s * speed.crowding,
                queue_s,
                first_token_s + speed.reply_s,
                mark,
                standing.health.out is not None,
            )
        else:
            tried = standing.health.out is not None
            sent = Sent(body_bytes, tokens, cacheable, read, None, queue_s, mark=mark, tried=tried)
        self._standings[name] = standing.started(sent, now)
        return sent

    def left(self, deployment: Deployment, sent: Sent, now: float, silent_s: float = 0.0) -> None:
        name = deployment.name
        before = self._standings[name]
        self._standings[name] = after = before.left(sent, now, silent_s, probed=self._is_probed(deployment))
        if after.health is not before.health:
            self._tell(deployment, before, after)

    def answering(self, deployment: Deployment, sent: Sent, now: float) -> None:
        """The reply to a request that was `Sent.tried` begins to come."""
        self._standings[deployment.name] = self._standings[deployment.name].answering(sent, now)

    def ended(self, deployment: Deployment, sent: Sent, outcome: Outcome, now: float) -> None:
        name = deployment.name
        before = self._standings[name]
        self._standings[name] = after = before.ended(sent, outcome, now, probed=self._is_probed(deployment))
        if after.health is not before.health:
            self._tell(deployment, before, after)
        usage = outcome.usage
        if usage is None:
            return
        if after.speed is not before.speed:
            self._count(deployment.model, sent.body_bytes, usage.input_tokens)
        if sent.mark:
            line = self._tokens.get(deployment.model)
            bytes_per_token = 1.0 / line.slope if line is not None and line.slope else BYTES_PER_TOKEN
            self._prefixes[name].answered(sent.mark, int(usage.output_tokens * bytes_per_token))

    def found(self, deployment: Deployment) -> None:
        """A probe of its machine was answered."""
        before = self.of(deployment.name)
        if before.health.unreached:
            self._standings[deployment.name] = before.found()

    def lost(self, deployment: Deployment, now: float) -> None:
        """A probe of its machine found nobody."""
        before = self.of(deployment.name)
        self._standings[deployment.name] = after = before.with_health(before.health.lost(now))
        self._tell(deployment, before, after)

    def _is_probed(self, deployment: Deployment) -> bool:
        return self._probed and deployment.upstream.model_file is None

    def _tell(self, deployment: Deployment, before: Standing, after: Standing) -> None:
        why = after.health.out
        if why is not None and (before.health.out is None or after.health.times > before.health.times):
            self._on_out(deployment, why)

    def _count(self, model: str, body_bytes: int, tokens: int) -> None:
        if tokens and body_bytes <= tokens * MOST_BYTES_PER_TOKEN:
            known = self._tokens.get(model)
            if known is None and len(self._tokens) >= MOST_MODELS:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[model] = (known or _NOBODY_SAID).plus(body_bytes, tokens)

    def _cacheable(self, name: str, body_bytes: int, tokens: float, marks: Sequence[int]) -> float:
        prefixes = self._prefixes.get(name)
        return tokens * min(prefixes.seen_bytes(marks) / body_bytes, 1.0) if prefixes is not None else 0.0
