"""A prompt on its way to an engine of this board: made steady, and when its cache was missed, why.

`core.stable` and `core.volatile` say how. Kept here is what each engine was sent: of each slot the last prompt, up to
a limit, so that a prompt of which less was cached than before can be laid beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from moltbot_edge.core import stable
from moltbot_edge.core.difference import Difference, difference
from moltbot_edge.core.events import Usage
from moltbot_edge.core.stable import Renderings
from moltbot_edge.core.volatile import Mover

log = logging.getLogger(__name__)

Body = bytes | bytearray

LAST_BYTES = 256 * 1024  # of a slot's last prompt: 60,000 tokens; what differs behind them is cheap
SLOTS = 64  # of all engines, whose last prompts are kept
SAY_EVERY_S = 60.0  # for each engine: a client that does it does it at every turn
MISSED = 0.8  # of the last prompt's tokens; with fewer cached, something differs that did not have to
LEAST_TOKENS = 128  # of a prompt that is worth a line


class Rendering:
    """*stabilise*: for which models of the registry; True for all. *now* is monotonic seconds."""

    def __init__(self, stabilise: bool | Collection[str], now: Callable[[], float]) -> None:
        self._stabilise = stabilise
        self._now = now
        self._renderings: dict[str, Renderings] = {}
        self._movers: dict[str, Mover] = {}
        self._last: dict[tuple[str, int], _Last] = {}
        self._said_at: dict[str, float] = {}

    def of(self, engine: str, model: str, body: Body) -> tuple[Body, tuple[int, ...]]:
        """What *engine* is sent for it, *body* itself mostly, and by what its keeper knows the conversation."""
        if self._stabilise is True or (self._stabilise is not False and model in self._stabilise):
            mover = self._movers.get(engine)
            if mover is None:
                self._movers[engine] = mover = Mover()
            body = mover.moved(body)
        renderings = self._renderings.get(engine)
        if renderings is None:
            self._renderings[engine] = renderings = Renderings()
        body = renderings.of(body)
        return body, stable.trail(body)

    def sent(self, engine: str, slot: int, body: Body) -> Difference | None:
        """Where *body* leaves what was sent to this slot before; None where it goes on, or is another conversation."""
        text = stable.text(body)[:LAST_BYTES]
        last = self._last.pop((engine, slot), None)
        self._last[engine, slot] = _Last(bytes(text), last.tokens if last is not None else 0)
        while len(self._last) > SLOTS:
            del self._last[next(iter(self._last))]
        return difference(last.text, text) if last is not None else None

    def answered(self, engine: str, slot: int, found: Difference | None, usage: Usage | None) -> None:
        """*found* is what `sent` gave. Says so in the log where it cost something."""
        last = self._last.get((engine, slot))
        if last is None or usage is None:
            return
        before, last.tokens = last.tokens, usage.input_tokens
        if found is None or before < LEAST_TOKENS or usage.cached_tokens >= before * MISSED:
            return
        now = self._now()
        if now - self._said_at.get(engine, -SAY_EVERY_S) < SAY_EVERY_S:
            return
        self._said_at[engine] = now
        log.info(
            "engine %s: %d tokens of a prompt were cached, where the one before it had %d: %s",
            *(engine, usage.cached_tokens, before, found),
        )


class _Last:
    """What a slot was sent last: *tokens* are those of the last prompt that was answered."""

    def __init__(self, text: bytes, tokens: int) -> None:
        self.text = text
        self.tokens = tokens
