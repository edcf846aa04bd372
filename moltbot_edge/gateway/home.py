"""What a deployment marked ``private`` promises: what was meant for it goes to no other off the LAN in its place.

Not when it fails, not when it rests, and not beside it when it is late; unless the alias says `leave_lan`. An alias of
private deployments and others is no leak by itself: where the policy puts another first, that was its choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from moltbot_edge.core.catalog import Deployment, Route, Upstream
from moltbot_edge.core.routing import Candidate
from moltbot_edge.network.lan import is_lan


def on_lan(upstream: Upstream) -> bool:
    return upstream.model_file is not None or is_lan(upstream.host)


def guarded(routes: Mapping[str, Route]) -> dict[str, int]:
    """The aliases that mix private deployments with such as are off the LAN: how many private ones each has."""
    found = {}
    for alias, route in routes.items():
        private = sum(one.private for one in route.deployments)
        if private and not route.leave_lan and not all(on_lan(one.upstream) for one in route.deployments):
            found[alias] = private
    return found


def at_home(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [one for one in candidates if on_lan(one.deployment.upstream)]


def after_private(order: Sequence[Deployment]) -> list[Deployment]:
    """*order* without those off the LAN that come after a private one."""
    kept: list[Deployment] = []
    private = False
    for one in order:
        if not private or on_lan(one.upstream):
            kept.append(one)
            private = private or one.private
    return kept


def fallback(from_: Route, to: Route) -> Route:
    """*to*, as far as it may be asked for what was meant for *from_*: perhaps without any deployment."""
    if from_.leave_lan or not any(one.private for one in from_.deployments):
        return to
    return msgspec.structs.replace(to, deployments=tuple(one for one in to.deployments if on_lan(one.upstream)))
