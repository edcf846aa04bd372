"""Outcomes folded into what is known of a deployment. A value: the exchange holds the only copy that changes.

*now* is `time.monotonic` seconds throughout.
"""

from __future__ import annotations

import msgspec

from moltbot_edge.core.events import Outcome

COOLDOWN_S = 5.0  # after a failure to answer at all; long enough to spare callers, short enough to notice a restart
LONGEST_COOLDOWN_S = 300.0  # a cloud's Retry-After may say an hour; its quota page may say otherwise


class Standing(msgspec.Struct, frozen=True):
    """What is known of one deployment right now."""

    in_flight: int = 0
    answered: int = 0
    failed: int = 0
    cooling_until: float = 0.0
    last_seen: float | None = None

    def started(self) -> Standing:
        return Standing(self.in_flight + 1, self.answered, self.failed, self.cooling_until, self.last_seen)

    def left(self) -> Standing:
        """The caller went away: nothing was learned."""
        return Standing(self.in_flight - 1, self.answered, self.failed, self.cooling_until, self.last_seen)

    def ended(self, outcome: Outcome, now: float) -> Standing:
        if outcome.error is None:
            return Standing(self.in_flight - 1, self.answered + 1, self.failed, 0.0, now)
        cooling_until = self.cooling_until
        pause_s = outcome.retry_after_s
        if pause_s is None and outcome.first_byte_s is None:
            pause_s = COOLDOWN_S
        if pause_s is not None:
            cooling_until = max(cooling_until, now + min(pause_s, LONGEST_COOLDOWN_S))
        return Standing(self.in_flight - 1, self.answered, self.failed + 1, cooling_until, self.last_seen)
