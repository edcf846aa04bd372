"""The catalog as it is now: a whole value, replaced when something is found out about an upstream.

Of `type: auto`, the configuration knows only an address. What is there is asked in the background from the start on,
and again, ever more seldom, while nobody answers; until it is known, the default dialect is assumed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final

import msgspec

from moltbot_edge.core.catalog import WILD, Catalog, Deployment, Route, Upstream, fits
from moltbot_edge.core.errors import GatewayError

if TYPE_CHECKING:  # only while somebody has to be asked
    from moltbot_edge.upstream.kinds import Found

WAIT_S: Final = 1.0  # of a request that comes first: on a LAN the answers take some milliseconds
AT_ONCE: Final = 8  # upstreams asked
SOONEST_S, LATEST_S = 2.0, 300.0  # between two times of asking, doubled from one to the other
MOST_LISTED: Final = 1_000  # names for one pattern; OpenRouter has some 400 models
SHOWN: Final = 20  # names in a line of the log

log = logging.getLogger(__name__)

Find = Callable[[Upstream, Sequence[str]], Awaitable["Found"]]


class Directory:
    """Whoever asks twice for `catalog` may get two. While entered, *find* is asked about each upstream not known yet.

    *nearby* are addresses that nobody named: where an engine is found, its models are new routes, asked by *policy*.
    """

    def __init__(
        self,
        catalog: Catalog,
        find: Find,
        nearby: Sequence[Upstream] = (),
        policy: str = "fastest",
        soonest_s: float = SOONEST_S,
    ) -> None:
        self.catalog = catalog
        self._find = find
        self._nearby = tuple(nearby)
        self._policy = policy
        self._soonest_s = soonest_s
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []
        # What nobody has been asked about yet; an upstream that did not answer is not among them any more.
        self.unasked: dict[Upstream, asyncio.Event] = {
            one.upstream: asyncio.Event() for one in _deployments(catalog) if one.upstream.auto
        }

    async def __aenter__(self) -> None:
        begin = asyncio.get_running_loop().create_task
        self._tasks = [begin(self._until_known(upstream)) for upstream in self.unasked]
        self._tasks += [begin(self._look(upstream)) for upstream in self._nearby]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def route(self, alias: str) -> Route:
        """As `Catalog.route`, once it is known where *alias* leads; or after a short while, as it is assumed."""
        waited_for = [
            event
            for upstream in {one.upstream for one in self.catalog.route(alias).deployments}
            if (event := self.unasked.get(upstream)) is not None
        ]
        try:
            async with asyncio.timeout(WAIT_S):
                for event in waited_for:
                    await event.wait()
        except TimeoutError:
            pass
        return self.catalog.route(alias)

    async def _until_known(self, upstream: Upstream) -> None:
        names = sorted({one.model for one in _deployments(self.catalog) if one.upstream == upstream})
        wanted = [name for name in names if WILD not in name]
        pause_s = self._soonest_s
        while True:
            try:
                async with self._slots:
                    found = await self._find(upstream, wanted)
            except GatewayError as error:
                log.log(
                    logging.INFO if pause_s == self._soonest_s else logging.DEBUG,
                    "%s does not say what it is, and is taken for an OpenAI-like API: %s",
                    upstream.name,
                    error.message,
                )
            else:
                self._tell(upstream, found, wanted)
                self.catalog = refined(self.catalog, upstream, found)
                self._asked(upstream)
                return
            self._asked(upstream)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LATEST_S)

    def _asked(self, upstream: Upstream) -> None:
        event = self.unasked.pop(upstream, None)
        if event is not None:
            event.set()

    async def _look(self, upstream: Upstream) -> None:
        """Once: an engine that is started later is found at the next start."""
        try:
            async with self._slots:
                found = await self._find(upstream, ())
                if found.kind == "moltbot-edge":  # two gateways that find each other would ask each other for ever
                    return
                found = await self._find(upstream, [one.name for one in found.models])
        except GatewayError as error:
            log.debug("nothing at %s: %s", upstream.name, error.message)
            return
        self.catalog, added = with_models(self.catalog, upstream, found, self._policy)
        if added:
            log.info("found %s at %s, with %s", found.kind, upstream.name, _listed(added))

    def _tell(self, upstream: Upstream, found: Found, wanted: Sequence[str]) -> None:
        version = f" {found.version}" if found.version else ""
        log.info("%s is %s%s, with %s", upstream.name, found.kind, version, _listed([one.name for one in found.models]))
        lacking = [name for name in wanted if found.models and found.model(name) is None]
        if lacking:
            there = _listed([one.name for one in found.models])
            log.warning("%s has no model %s; it has: %s", upstream.name, ", ".join(map(repr, lacking)), there)


def refined(catalog: Catalog, upstream: Upstream, found: Found) -> Catalog:
    """*catalog* with all that was found out about *upstream*; what the configuration says counts more."""

    def known(one: Deployment) -> Deployment:
        return described(one, upstream, found) if one.upstream == upstream else one

    routes = {
        alias: msgspec.structs.replace(route, deployments=tuple(map(known, route.deployments)))
        for alias, route in catalog.routes.items()
    }
    listed = dict(catalog.listed)
    for alias, route in catalog.routes.items():
        for one in route.deployments:
            if WILD in alias and one.upstream == upstream:
                names = (*listed.get(alias, ()), *_standing_for(alias, one.model, found))
                listed[alias] = tuple(dict.fromkeys(names))[:MOST_LISTED]
    return Catalog(routes, listed)


def _standing_for(alias: str, pattern: str, found: Found) -> list[str]:
    """Names that *alias* stands for: those of the models found that fit *pattern*, as callers would say them."""
    start, star, end = pattern.partition(WILD)
    fitting = [one.name for one in found.models if star and fits(one.name, pattern) and one.name.isprintable()]
    return [alias.replace(WILD, name[len(start) : len(name) - len(end)], 1) for name in fitting]


def described(one: Deployment, upstream: Upstream, found: Found) -> Deployment:
    there = msgspec.structs.replace(
        upstream, dialect=found.dialect, base_path=found.base_path, also=found.also, props=found.props, auto=False
    )
    model = found.model(one.model)
    if model is None:
        return msgspec.structs.replace(one, upstream=there)
    return msgspec.structs.replace(
        one,
        upstream=there,
        context_tokens=model.context_tokens if one.context_tokens is None else one.context_tokens,
        tools=model.tools if one.tools is None else one.tools,
        images=model.images if one.images is None else one.images,
    )


def with_models(catalog: Catalog, upstream: Upstream, found: Found, policy: str) -> tuple[Catalog, list[str]]:
    """*catalog* with a route to each of the models found, and their names. A name that is taken stays whose it is."""
    routes = dict(catalog.routes)
    added = []
    for model in found.models:
        alias = found.alias(model)
        if alias in routes or WILD in alias or not alias.isprintable():
            alias = f"{alias}@{upstream.name}"
        if alias in routes or WILD in alias or not alias.isprintable():
            continue
        one = described(Deployment(alias, upstream, model.name), upstream, found)
        routes[alias] = Route(alias, (one,), policy, 1)
        added.append(alias)
    return Catalog(routes, catalog.listed), added


def _deployments(catalog: Catalog) -> list[Deployment]:
    return [one for route in catalog.routes.values() for one in route.deployments]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "no models") + more
