"""When a second machine is asked for the same request: how long to wait for the first. Pure.

Dean and Barroso, "The Tail at Scale" (CACM 2013): the few that are late are asked for a second time, and whoever is
first answers. Late is what only one in twenty was, of this deployment's own recent answers beside their predictions:
a long prompt's first token is not late because short ones came sooner.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

RECENT = 64  # of a deployment: 95 of 100 is told by three of them
FEWEST = 8  # before that nothing is usual yet
LATE = 0.95
LEAST_S = 0.05  # below, a wait is the weather of the network


def late_by(ratios: Sequence[float]) -> float | None:
    """The 95th percentile of measured over predicted seconds; None where that is not known."""
    if len(ratios) < FEWEST:
        return None
    return sorted(ratios)[min(int(len(ratios) * LATE), len(ratios) - 1)]


class Expected(msgspec.Struct, frozen=True):
    """Of one deployment, seconds: the first token, and the first byte, which of a reply in one piece is its end."""

    first_token_s: float
    first_byte_s: float


def wait_s(after_s: float, first: Expected | None, other: Expected | None, late: float | None) -> float:
    """Seconds to wait for the first byte of the one that was asked before the other is asked too.

    A first token predicted later than *after_s* is not waited for where the other's comes sooner. None is of what
    nothing is known; *late* is `late_by` of the first.
    """
    if first is None:
        return after_s
    if first.first_token_s > after_s and (other is None or other.first_token_s < first.first_token_s):
        return 0.0
    if late is None:
        return after_s + (first.first_byte_s - first.first_token_s)
    return max(first.first_byte_s * late, LEAST_S)
