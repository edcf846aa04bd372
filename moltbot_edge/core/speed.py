"""How fast a deployment is, learned from how its replies came. Not how busy it is: that is `scoreboard.Standing`.

Rates come from what a reply says of itself (`usage`, `timings`), and from its bytes' times where it says nothing.
Peak-EWMA as in Finagle (``PeakEwma.scala``), over the time to the first token for each uncached one.
"""

from __future__ import annotations

import math

import msgspec

from moltbot_edge.core.events import Outcome, Usage
from moltbot_edge.core.line import Line

STEADY = 0.1  # the least share of a new value in a mean: the last ten or so count
SETTLE_S = 10.0  # Finagle's decay: what was slow this long ago counts a third
SLOW = 3.0  # times as long as usual; what is less is weather, or another program on the same board
SLOWEST = 20.0  # a single hiccup is not believed beyond this
READ_TO_WRITTEN = 5.0  # tokens read while one is written, before anything is known: boards 3 to 5, GPUs 30
LEAST_TOKENS = 32  # read in one go; fewer tell the fixed cost, not the rate
CACHE_SHARE = 0.3  # of a new value: a cache is lost all at once, when a box restarts
LOADED = 5.0  # times slower than its second answer: the first one waited for the model to be loaded
CROWD = 3.0  # a queue may cost so many times what was expected of it, no more: it is learned from single waits


class Sent(msgspec.Struct, frozen=True):
    """What was expected of a request as it was sent. *first_token_s* is None where nothing was known.

    *cacheable_tokens* went there before, at the beginning of a prompt; *read_tokens* are left to be read. *queue_s* is
    the work that was ahead of it, as if done one after another; *work_s* is what it will take itself. *mark* is the
    last one of its body (`core.prefixes`), 0 where it has none. *tried*: it went to a deployment that was left out
    after failures, and decides whether that one is back.
    """

    body_bytes: int = 0
    prompt_tokens: float = 0.0
    cacheable_tokens: float = 0.0
    read_tokens: float = 0.0
    first_token_s: float | None = None
    queue_s: float = 0.0
    work_s: float = 1.0  # Tower's default for what nobody has seen yet
    mark: int = 0
    tried: bool = False


class Speed(msgspec.Struct, frozen=True):
    """*reading* gives seconds before the first token is written, by uncached prompt tokens, of an idle deployment.

    *decode_s* is seconds for each token written, *reply_s* from the first to the last. *crowding* is how much of the
    work ahead of a request it has to wait for: 1 in a queue of one, 0 where all are served at once.
    *slowness* is the Peak-EWMA, in multiples of what is usual. *cache_hits* is the share of the tokens that were
    thought to be cached and were, *always_cached* the tokens that are without being thought so, such as a template's.
    *lessons* counts the outcomes that taught all this.
    """

    reading: Line = Line()
    decode_s: float = 0.0
    reply_s: float = 0.0
    output_tokens: float = 0.0
    crowding: float = 1.0
    slowness: float = 1.0
    slow_at: float = 0.0
    cache_hits: float = 0.0
    lessons: int = 0
    learned_at: float = 0.0
    always_cached: float = 0.0

    @property
    def known(self) -> bool:
        return self.reading.weight > 0.0

    @property
    def prefill_rate(self) -> float:
        """Tokens a second; 0 while unknown."""
        return 1.0 / self.reading.slope if self.reading.slope else 0.0

    @property
    def decode_rate(self) -> float:
        return 1.0 / self.decode_s if self.decode_s else 0.0

    def slow_by(self, now: float) -> float:
        """1, or how many times slower than usual it was lately."""
        if self.slowness < SLOW:
            return 1.0
        times = 1.0 + (self.slowness - 1.0) * math.exp((self.slow_at - now) / SETTLE_S)
        return times if times >= SLOW else 1.0

    def first_token_s(self, read_tokens: float, now: float) -> float:
        """On an idle deployment: reading the prompt, then writing one token."""
        reading = self.reading
        seconds = reading.base + reading.slope * read_tokens + self.decode_s
        return seconds if self.slowness < SLOW else seconds * self.slow_by(now)

    def learned(self, sent: Sent, outcome: Outcome, now: float) -> Speed:
        """With what a whole answer teaches. An outcome without a first byte teaches nothing."""
        first_byte_s = outcome.first_byte_s
        if first_byte_s is None or outcome.error is not None:
            return self
        usage, timings = outcome.usage, outcome.timings
        prefill_rate = timings.prefill_rate if timings is not None else 0.0
        read, written = sent.read_tokens, 0.0
        if usage is not None:
            written = float(usage.output_tokens)
            if usage.input_tokens:
                read = float(usage.input_tokens - usage.cached_tokens)
        read = max(read, 1.0)
        share = max(STEADY, 1.0 / (self.lessons + 1))

        decode_s = self._decode_s(outcome, read, written, share)
        alone = sent.queue_s <= 0.0
        reading, crowding, slowness, slow_at = self.reading, self.crowding, self.slowness, self.slow_at
        first_token_s = None
        if outcome.streamed:
            first_token_s = first_byte_s
            usual_s = reading.at(read) + decode_s
            if self.lessons == 1 and usual_s > LOADED * first_byte_s:
                reading = Line()
            if not reading.weight or alone:
                prefill_s = max(first_byte_s - decode_s, first_byte_s / 10)
                if reading.weight and read >= LEAST_TOKENS:
                    slowness, slow_at = self._peak(first_byte_s / usual_s, now)
                reading = reading.plus(read, prefill_s)
            else:
                waited = (first_byte_s - usual_s) / sent.queue_s
                crowding += (min(max(waited, 0.0), CROWD) - crowding) * max(STEADY, share)
        elif prefill_rate:
            first_token_s = read / prefill_rate + decode_s
            reading = reading.plus(read, read / prefill_rate)
        elif alone or not reading.weight:
            first_token_s = self._first_part(read, written) * outcome.duration_s
            if self.lessons == 1 and reading.at(read) > LOADED * first_token_s:
                reading = Line()
            reading = reading.plus(read, first_token_s)

        reply_s = self.reply_s
        if first_token_s is not None:
            reply_s += (max(outcome.duration_s - first_token_s, 0.0) - reply_s) * share
        return Speed(
            reading,
            decode_s,
            reply_s,
            self.output_tokens + (written - self.output_tokens) * share,
            crowding,
            slowness,
            slow_at,
            self._cache_hits(sent, usage),
            self.lessons + 1,
            now,
            self._always_cached(sent, usage),
        )

    def _decode_s(self, outcome: Outcome, read: float, written: float, share: float) -> float:
        timings, first_byte_s = outcome.timings, outcome.first_byte_s or 0.0
        if timings is not None and timings.decode_rate:
            seconds = 1.0 / timings.decode_rate
        elif written < 2:
            return self.decode_s
        elif outcome.streamed:
            seconds = (outcome.duration_s - first_byte_s) / (written - 1)
        else:
            seconds = (1.0 - self._first_part(read, written)) * outcome.duration_s / written
        if seconds <= 0.0:
            return self.decode_s
        return seconds if not self.decode_s else self.decode_s + (seconds - self.decode_s) * share

    def _first_part(self, read: float, written: float) -> float:
        """The part of a whole reply's time that went before its first token, from 0 to 1."""
        reading = self.reading
        if reading.weight and self.decode_s:
            before, after = reading.at(read), written * self.decode_s
        else:
            before, after = read, written * READ_TO_WRITTEN
        return before / (before + after)

    def _peak(self, times: float, now: float) -> tuple[float, float]:
        """Up at once, down by and by."""
        times = min(times, SLOWEST)
        if times >= self.slowness:
            return times, now
        kept = math.exp((self.slow_at - now) / SETTLE_S)
        return max(1.0, self.slowness * kept + times * (1.0 - kept)), now

    def _always_cached(self, sent: Sent, usage: Usage | None) -> float:
        if usage is None or sent.cacheable_tokens > 0.0:
            return self.always_cached
        return self.always_cached + (usage.cached_tokens - self.always_cached) * CACHE_SHARE

    def _cache_hits(self, sent: Sent, usage: Usage | None) -> float:
        thought = sent.cacheable_tokens
        if usage is None or thought < LEAST_TOKENS:
            return self.cache_hits
        hits = min(usage.cached_tokens / thought, 1.0)
        return self.cache_hits + (hits - self.cache_hits) * (CACHE_SHARE if self.cache_hits else 1.0)
