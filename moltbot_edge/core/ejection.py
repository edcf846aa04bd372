"""Who is left out after failures, for how long, and how it comes back: one request decides. A value, without a clock.

After Envoy's outlier detection: so many failures in a row, then out for 30 s times how often it was of late. Where
nothing at all came back, one failure is enough, because each further one may cost a caller a connect timeout; then it
is a probe (`gateway.watch`) that says when it is back, and not a time. *now* is `time.monotonic` seconds.
"""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

IN_A_ROW = 5  # Envoy's consecutive_5xx
EJECTION_S = 30.0  # Envoy's base_ejection_time
LONGEST_EJECTION_S = 300.0  # Envoy's max_ejection_time
LAPSED_S = 300.0  # after a return, before an ejection counts as the first again
UNPROBED_REST_S = 5.0  # of an engine on this board: long enough to spare callers, short enough to notice a restart
LONGEST_ASKED_S = 300.0  # a cloud's Retry-After may say an hour; its quota page may say otherwise


class Out(StrEnum):
    """Why. *asked* is the deployment's own wish, by its ``Retry-After``."""

    SILENT = "silent"
    FAILING = "failing"
    ASKED = "asked"


class Health(msgspec.Struct, frozen=True):
    """*failures* are those in a row, *times* the ejections of late. *out* is why it is left out, None while it is not.

    It may be asked again from *rest_until* on, where it is not *unreached*: then a probe has to find it first. From
    there on it is tried by one request at a time, of which *trials* counts those under way, until one is answered.
    """

    failures: int = 0
    times: int = 0
    out: Out | None = None
    rest_until: float = 0.0
    unreached: bool = False
    trials: int = 0
    back_at: float = -math.inf

    @property
    def cooling_until(self) -> float:
        """When it may be asked; infinite while somebody has to find out first."""
        if self.out is None:
            return 0.0
        return math.inf if self.unreached or self.trials else self.rest_until

    def tried(self) -> Health:
        """A request is sent to it although it is out."""
        return msgspec.structs.replace(self, trials=self.trials + 1)

    def answered(self, tried: bool, now: float) -> Health:
        """*tried*: the request was sent while it was out, so the answer says that it is back.

        One that was sent before says so only of a machine that was silent meanwhile.
        """
        if self.out is None:
            return Health(0, self.times, back_at=self.back_at)
        if tried or self.out is Out.SILENT:
            return Health(0, self.times, trials=self._trials(tried), back_at=now)
        return msgspec.structs.replace(self, failures=0)

    def undecided(self) -> Health:
        """A request that had been sent although it was out says nothing: its caller has left. Another may try."""
        return msgspec.structs.replace(self, trials=self._trials(True))

    def failed(self, tried: bool, silent: bool, pause_s: float | None, probed: bool, now: float) -> Health:
        """*silent*: not a byte came. *pause_s* is its own wish. *probed*: probes will find it when it is back."""
        failures, trials = self.failures + 1, self._trials(tried)
        if pause_s is not None:
            until = max(self.rest_until, now + min(pause_s, LONGEST_ASKED_S))
            return Health(failures, self.times, self.out or Out.ASKED, until, self.unreached, trials, self.back_at)
        rested = self.out is not None and now >= self.rest_until and not self.unreached
        if self.out is not None and not (tried and rested):  # what was sent before, or out of need
            gone = self.unreached or (silent and probed)
            return msgspec.structs.replace(self, failures=failures, trials=trials, unreached=gone)
        if not silent and self.out is None and failures < IN_A_ROW:
            return msgspec.structs.replace(self, failures=failures)
        times = self.times if self.out is not None or now - self.back_at < LAPSED_S else 0
        if silent and self.out is None:  # no time: a probe decides
            return Health(
                failures, times, Out.SILENT, now + (0.0 if probed else UNPROBED_REST_S), probed, trials, self.back_at
            )
        times += 1
        until = now + min(EJECTION_S * times, LONGEST_EJECTION_S)
        why = Out.SILENT if silent else Out.FAILING
        return Health(failures, times, why, until, silent and probed, trials, self.back_at)

    def found(self) -> Health:
        """A probe was answered."""
        return msgspec.structs.replace(self, unreached=False) if self.unreached else self

    def lost(self, now: float) -> Health:
        """A probe was not, so nobody should be sent there, whether or not anybody failed there before.

        From then on it is a probe that says when it is back, and no time but the one that it asked for.
        """
        if self.out is None:
            return Health(self.failures, self.times, Out.SILENT, now, True, self.trials, self.back_at)
        until = self.rest_until if self.out is Out.ASKED else min(self.rest_until, now)
        return msgspec.structs.replace(self, rest_until=until, unreached=True)

    def _trials(self, tried: bool) -> int:
        return max(self.trials - tried, 0)


WELL = Health()


def most_out(of: int) -> int:
    """How many of *of* deployments may be left out for failing: half, never all. Envoy says a tenth, of many."""
    return max(min(max(of // 2, 1), of - 1), 0)
