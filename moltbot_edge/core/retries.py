"""Whether a request that every deployment failed is tried once more, and when. Pure: *chance* is in [0, 1).

Another deployment is asked at once; only who asks the same again waits. Full jitter as in AWS's "Exponential Backoff
And Jitter": callers that failed together do not come back together.
"""

from __future__ import annotations

from moltbot_edge.core.errors import GatewayError, Overloaded, Unreachable, UpstreamRefused

FIRST_S = 0.1
LONGEST_S = 2.0
LATER = frozenset({429, 503})  # what an upstream says that may answer the same request a moment later


def pause_s(error: GatewayError, tried: int, waited_s: float, patience_s: float, chance: float) -> float | None:
    """Seconds until the next try, None for no other. *tried* counts from 1, *waited_s* from the request's beginning.

    Only for what cannot have begun to work on it: a connection that could not be made, and a refusal that says when to
    come back. Never over *patience_s* in all: the caller has patience too, and its own way to ask again.
    """
    if isinstance(error, Overloaded):  # it has waited in our own line
        return None
    if isinstance(error, UpstreamRefused):
        if error.answered not in LATER or error.retry_after_s is None:
            return None
        least_s = error.retry_after_s
    elif isinstance(error, Unreachable):
        least_s = 0.0
    else:
        return None
    pause = least_s + chance * min(FIRST_S * 2.0 ** min(tried - 1, 10), LONGEST_S)
    return pause if waited_s + pause <= patience_s else None
