"""Which dialect is spoken at a path, which upstream can be asked for it, and the dialects by name.

Each is made at its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from moltbot_edge.core.catalog import Deployment, Route, as_spoken
from moltbot_edge.core.dialect import Dialect, Operation
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.gateway.caller import Request


class Dialects:
    """*paths* tells the name of the dialect that is spoken at a path; *make* makes the dialect of a name."""

    def __init__(self, paths: Mapping[str, str], make: Callable[[str], Dialect]) -> None:
        self.paths = frozenset(paths)
        self.spoken: set[str] = set()  # by an upstream
        self._names = paths
        self._make = make
        self._by_name: dict[str, Dialect] = {}
        self._by_path: dict[str, Dialect] = {}

    def named(self, name: str) -> Dialect:
        """Of an upstream."""
        self.spoken.add(name)
        return self.made(name)

    def made(self, name: str) -> Dialect:
        dialect = self._by_name.get(name)
        if dialect is None:
            self._by_name[name] = dialect = self._make(name)
        return dialect

    def at(self, path: str) -> Dialect:
        """*path* is one of `paths`."""
        dialect = self._by_path.get(path)
        if dialect is None:
            self._by_path[path] = dialect = self.made(self._names[path])
        return dialect

    def able(self, route: Route, request: Request) -> Route:
        """*route*, without the deployments whose upstream cannot be asked for such a thing.

        An upstream that speaks the caller's dialect besides its own is asked in it. Raises `InvalidRequest` where none
        is left.
        """
        name = request.dialect.name
        for deployment in route.deployments:
            if deployment.upstream.dialect != name:
                break
        else:
            return route  # nearly always
        spoken = [self._asked_in(request, one) for one in route.deployments]
        able = tuple(one for one in spoken if one.upstream.dialect == name or self._has(one, request))
        if able:
            return route if able == route.deployments else msgspec.structs.replace(route, deployments=able)
        theirs = ", ".join(sorted({one.upstream.dialect for one in route.deployments}))
        raise InvalidRequest(
            f"{request.path} cannot be had of {route.alias!r}, whose upstream speaks {theirs}", param="model"
        )

    def _has(self, deployment: Deployment, request: Request) -> bool:
        operation = request.dialect.operations.get(request.path)
        if operation is None or operation is Operation.COUNT:  # which the gateway estimates
            return operation is not None
        return operation in self.named(deployment.upstream.dialect).operations.values()

    def _asked_in(self, request: Request, one: Deployment) -> Deployment:
        name = request.dialect.name
        upstream = as_spoken(one.upstream, name)
        operation = request.dialect.operations.get(request.path)
        if operation is not Operation.CHAT and upstream.dialect != name:
            theirs = self.named(upstream.dialect)
            beside = theirs.beside
            if beside is not None and (beside == name or self._only_there(operation, theirs, beside)):
                upstream = msgspec.structs.replace(upstream, dialect=beside)
        return one if upstream is one.upstream else msgspec.structs.replace(one, upstream=upstream)

    def _only_there(self, operation: Operation | None, theirs: Dialect, beside: str) -> bool:
        """Whether *theirs* has no such thing, and what is spoken beside it has."""
        return operation not in theirs.operations.values() and operation in self.named(beside).operations.values()
