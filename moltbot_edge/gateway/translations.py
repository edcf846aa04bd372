"""Requests for upstreams of another dialect: each a `translate.Translation`, which is imported at the first of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.dialect import ReplyHead
from moltbot_edge.gateway.asked import Asked, ExchangeLimits
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.dialects import Dialects
from moltbot_edge.gateway.engines import Engines
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.upstream.chat import Upstreams
from moltbot_edge.upstream.wire import Address

if TYPE_CHECKING:
    from moltbot_edge.core.chat import ChatRequest
    from moltbot_edge.core.target import Abilities
    from moltbot_edge.gateway.abilities import KnownAbilities
    from moltbot_edge.gateway.count import Counts
    from moltbot_edge.gateway.translate import EmbedTranslation, Translation


class Translations:
    """*now* is `time.monotonic`, *clock* is seconds since 1970; *new_id* names a reply that is written here."""

    def __init__(
        self,
        dialects: Dialects,
        upstreams: Upstreams,
        engines: Engines,
        standings: Standings,
        limits: ExchangeLimits,
        now: Callable[[], float],
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._dialects = dialects
        self._upstreams = upstreams
        self._engines = engines
        self._standings = standings
        self._limits = limits
        self._now = now
        self._clock = clock
        self._new_id = new_id
        self._counts: Counts | None = None
        self._abilities: KnownAbilities | None = None

    def head(self, request: Request, prompt_tokens: int, began: float | None = None) -> ReplyHead:
        since = None if began is None else lambda: self._now() - began
        place = None if request.conversation is None else request.conversation.place
        return ReplyHead(self._new_id(), int(self._clock()), request.head.model, since, prompt_tokens, place)

    def of(self, asked: Asked, deployment: Deployment, began: float) -> Translation | EmbedTranslation:
        """Raises `InvalidRequest`."""
        from moltbot_edge.gateway.translate import translation

        request = asked.request
        head = self.head(request, self._estimate(request, deployment), began)
        if (conversation := request.conversation) is not None and (fit := conversation.fits.get(deployment.name)):
            head = replace(head, prompt_tokens=fit.prompt_tokens, left_out_tokens=fit.left_out_tokens)
        theirs = self._dialects.named(deployment.upstream.dialect)
        able = self.able(deployment)
        return translation(request, deployment, theirs, head, self._limits, able, learns=asked.lesson is not None)

    def as_sent(self, chat: ChatRequest, deployment: Deployment) -> bytes:
        """The body that *deployment* would be sent. Raises `InvalidRequest`."""
        from moltbot_edge.gateway.translate import as_sent

        theirs = self._dialects.named(deployment.upstream.dialect)
        return as_sent(chat, deployment, theirs, self.able(deployment)).body

    async def learn(self, deployment: Deployment, at: Address) -> bool:
        """Ask an engine of this board what its template takes. False: that was known before."""
        return await self._known_abilities().learn(deployment, at)

    async def count(self, asked: Asked, deployment: Deployment) -> tuple[int, bool]:
        """The tokens of a request, and whether they are an estimate. Raises `InvalidRequest`."""
        from moltbot_edge.gateway.count import Counts

        translation = self.of(asked, deployment, self._now())
        if self._counts is None:
            self._counts = Counts(self._upstreams, self._engines)
        tokens = await self._counts.count(deployment, translation.path, translation.body)
        return (self._estimate(asked.request, deployment), True) if tokens is None else (tokens, False)

    def _estimate(self, request: Request, deployment: Deployment) -> int:
        return round(self._standings.prompt_tokens(deployment.model, len(request.body)))

    def able(self, deployment: Deployment) -> Abilities | None:
        """What is known of it."""
        if self._abilities is None and not deployment.upstream.props:
            return None
        return self._known_abilities().of(deployment)

    def _known_abilities(self) -> KnownAbilities:
        from moltbot_edge.gateway.abilities import KnownAbilities

        if self._abilities is None:
            self._abilities = KnownAbilities(self._upstreams)
        return self._abilities
