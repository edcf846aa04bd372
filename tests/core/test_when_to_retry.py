"""Whether the same is asked again, and when."""

from __future__ import annotations

import pytest

from moltbot_edge.core.errors import (
    ClosedUnanswered,
    EngineFailed,
    GatewayError,
    InvalidReply,
    Overloaded,
    TruncatedReply,
    Unreachable,
    UpstreamRefused,
    UpstreamTimeout,
)
from moltbot_edge.core.retries import FIRST_S, LONGEST_S, pause_s


def refused(status: int, retry_after_s: float | None = None) -> UpstreamRefused:
    return UpstreamRefused("no", answered=status, body=b"", content_type=b"", retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (Unreachable("x"), 0.5 * FIRST_S),
        (refused(503, 1.0), 1.0 + 0.5 * FIRST_S),
        (refused(429, 0.0), 0.5 * FIRST_S),
        (refused(429, 7.0), None),  # longer than a caller waits
        (refused(429), None),  # it does not say when
        (refused(500, 1.0), None),
        (refused(400, 1.0), None),
        (Overloaded("x", retry_after_s=1.0), None),
        (EngineFailed("x", retry_after_s=1.0), None),
        # It may have begun to work on these.
        (ClosedUnanswered("x"), None),
        (UpstreamTimeout("x"), None),
        (TruncatedReply("x"), None),
        (InvalidReply("x"), None),
    ],
)
def test_only_what_cannot_have_begun_is_asked_again_of_the_same(error: GatewayError, pause: float | None) -> None:
    assert pause_s(error, 1, 0.0, 2.0, 0.5) == pause


def test_pauses_grow_and_are_drawn_from_their_whole_length() -> None:
    longest = [pause_s(Unreachable("x"), tried, 0.0, 60.0, 1.0) for tried in range(1, 8)]
    assert longest == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S, 16 * FIRST_S, LONGEST_S, LONGEST_S]
    assert pause_s(Unreachable("x"), 5, 0.0, 60.0, 0.0) == 0.0


def test_no_pause_goes_over_the_callers_patience() -> None:
    assert pause_s(Unreachable("x"), 1, 1.95, 2.0, 0.5) == 0.5 * FIRST_S
    assert pause_s(Unreachable("x"), 1, 1.96, 2.0, 0.5) is None
    assert pause_s(Unreachable("x"), 1, 5.0, 2.0, 0.0) is None  # it has waited for a connection as long
