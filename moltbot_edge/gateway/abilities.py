"""What an engine says of its model's template: one of this board is asked at the first request translated for it.

It is the file's and the flags', so once is enough. Of an engine that does not say it, `core.target` takes the usual.
What is said by one elsewhere, discovery has found out.
"""

from __future__ import annotations

from typing import Final

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.errors import UpstreamError
from moltbot_edge.core.target import Abilities, abilities
from moltbot_edge.upstream.chat import Upstreams
from moltbot_edge.upstream.wire import Address

PROPS: Final = "/props"
ANSWER_BYTES: Final = 1024 * 1024  # a template is some 20 KiB, and what else is said a few


class KnownAbilities:
    """By engine. One that could not be asked is asked again."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._known: dict[str, Abilities] = {}

    def of(self, deployment: Deployment) -> Abilities | None:
        upstream = deployment.upstream
        known = self._known.get(upstream.name)
        if known is None and upstream.props and (known := abilities(upstream.props)) is not None:
            self._known[upstream.name] = known
        return known

    async def learn(self, deployment: Deployment, at: Address) -> bool:
        """Whether something is known now that was not before. The engine is leased."""
        upstream = deployment.upstream
        if upstream.name in self._known:
            return False
        pool, _ = self._upstreams.request(deployment, at, PROPS, b"", [])
        try:
            reply = await pool.send([self._upstreams.probing_head(upstream, PROPS)])
            try:
                body = await reply.read(ANSWER_BYTES) if reply.status == 200 else b""
            finally:
                reply.close()
        except UpstreamError:
            return False
        found = abilities(body)
        if found is None:
            return False
        self._known[upstream.name] = found
        return True
