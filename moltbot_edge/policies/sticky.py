"""The same conversation to the same deployment, where its prompt is cached: by rendezvous hashing.

Each deployment's place in the order hangs on the conversation and on its own name only. So when one goes, its
conversations are spread over the others and no other conversation moves; when it returns, they come back.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998); with weights as in
Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

from moltbot_edge.api import Candidate, RouteQuery, Struct, policy

_RANGE = 2.0**64


@policy("sticky")
class Sticky(Struct, frozen=True):
    """A conversation is known by its session; without one, or with *by* ``prompt``, by how it begins.

    It begins with everything up to the end of the first message that a user wrote, so conversations that begin alike
    stay together. One that is kept, and had to move, stays where it is now: to come back would cost it as much again.
    """

    by: Literal["session", "prompt"] = "session"

    def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
        if len(candidates) < 2:
            return candidates
        session = query.session if self.by == "session" else None
        key = query.opening() if session is None else session.encode("utf-8", "surrogatepass")
        shared = blake2b(key, digest_size=8)

        def distance(candidate: Candidate) -> float:
            own = shared.copy()
            own.update(b"\0" + candidate.deployment.name.encode("utf-8", "surrogatepass"))
            point = (int.from_bytes(own.digest(), "big") + 0.5) / _RANGE
            return -math.log(point) / candidate.deployment.weight

        order = sorted(candidates, key=distance)
        if query.stays is not None:
            order.sort(key=lambda candidate: candidate.deployment.name != query.stays)
        return order
