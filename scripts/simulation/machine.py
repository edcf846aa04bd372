"""A machine that answers requests one after another: fixed cost, reading at one rate, writing at another.

It may stop now and then with all that it has under way, and it may keep the prompts of conversations.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

NOISE = 0.1  # the standard deviation of a time's logarithm


@dataclass(frozen=True)
class Job:
    """*conversation* None: the first and only request of one. *prompt_tokens* grow from turn to turn."""

    at: float
    body: bytes
    prompt_tokens: int
    output_tokens: int
    conversation: int | None = None


@dataclass(frozen=True)
class Done:
    begin: float
    first_token: float
    end: float
    cached_tokens: int


@dataclass
class Machine:
    """*stalls* are (from, to), in order and apart. *kept* are conversations with their tokens, the latest last."""

    name: str
    prefill_rate: float = 400.0
    decode_rate: float = 40.0
    fixed_s: float = 0.05
    stalls: Sequence[tuple[float, float]] = ()
    keeps: int = 0
    kept: OrderedDict[int, int] = field(default_factory=OrderedDict)
    free_at: float = 0.0

    def answer(self, job: Job, noise: random.Random, now: float) -> Done:
        """Jobs come in the order of *now*."""
        cached = min(self.kept.get(job.conversation, 0), job.prompt_tokens - 1) if job.conversation is not None else 0
        reading_s = self.fixed_s + (job.prompt_tokens - cached) / self.prefill_rate + 1 / self.decode_rate
        writing_s = (job.output_tokens - 1) / self.decode_rate
        begin = max(now, self.free_at)
        first_token = self._after(begin, reading_s * noise.lognormvariate(0, NOISE))
        self.free_at = self._after(first_token, writing_s * noise.lognormvariate(0, NOISE))
        if self.keeps and job.conversation is not None:
            self.kept[job.conversation] = job.prompt_tokens + job.output_tokens
            self.kept.move_to_end(job.conversation)
            while len(self.kept) > self.keeps:
                self.kept.popitem(last=False)
        return Done(begin, first_token, self.free_at, cached)

    def cancel(self, done: Done, now: float) -> None:
        """Whoever wanted it has left. Where another waits behind it already, nothing is saved."""
        if self.free_at == done.end:
            self.free_at = max(done.begin, now)

    def _after(self, begin: float, work_s: float) -> float:
        """When so much work is done that was begun then."""
        end = begin + work_s
        for stops, goes_on in self.stalls:
            if goes_on <= begin:
                continue
            if stops >= end:
                break
            end += goes_on - max(stops, begin)
        return end
