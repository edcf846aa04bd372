"""What a request would find at the engines of this board, for a policy to see: there only where models are run here.

Of a request that passes as it came the trail is its body's. Of a kept conversation it is that of what an engine would
be sent, and so it is rendered for each, with its own template's ways; only where there is a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.lease import Foresight
from moltbot_edge.core.routing import Candidate
from moltbot_edge.core.stable import trail
from moltbot_edge.gateway.caller import Request

if TYPE_CHECKING:  # imported at the first request that asks for a session
    from moltbot_edge.gateway.conversation import Conversation


class Foresights:
    """*foresee* tells of an engine what a prompt with such a trail would find there; *rendered* gives the trail of
    what one would be sent of a kept conversation."""

    def __init__(
        self,
        foresee: Callable[[str, Sequence[int]], Foresight],
        rendered: Callable[[Conversation, Deployment], Sequence[int]],
    ) -> None:
        self._foresee = foresee
        self._rendered = rendered

    def of(self, candidates: Sequence[Candidate], request: Request) -> list[Candidate]:
        """With what the engines among them have to load first, and what of the prompt they hold then."""
        found = list(candidates)
        as_it_came: Sequence[int] | None = None
        for place, candidate in enumerate(candidates):
            deployment = candidate.deployment
            engine = deployment.upstream
            if engine.model_file is None:
                continue
            conversation = request.conversation
            cut = conversation is not None and conversation.held.was_cut(deployment.name)
            if conversation is not None:
                wanted = self._rendered(conversation, deployment)
            else:
                wanted = as_it_came = trail(request.body) if as_it_came is None else as_it_came
            foresight = self._foresee(engine.name, wanted)
            cached = candidate.cached_tokens
            # Else it may still hold what it was seen to; so it may where what it is sent is made shorter only then.
            if foresight.ready_s or (foresight.cached_tokens is not None and not cut):
                cached = float(foresight.cached_tokens or 0)
            found[place] = msgspec.structs.replace(candidate, ready_s=foresight.ready_s, cached_tokens=cached)
        return found
