"""Which dialect is spoken at a path, and the dialects by name: each made at its first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from moltbot_edge.core.dialect import Dialect


class Dialects:
    """*paths* tells the name of the dialect that is spoken at a path; *make* makes the dialect of a name."""

    def __init__(self, paths: Mapping[str, str], make: Callable[[str], Dialect]) -> None:
        self.paths = frozenset(paths)
        self._names = paths
        self._make = make
        self._by_name: dict[str, Dialect] = {}
        self._by_path: dict[str, Dialect] = {}

    def named(self, name: str) -> Dialect:
        dialect = self._by_name.get(name)
        if dialect is None:
            self._by_name[name] = dialect = self._make(name)
        return dialect

    def at(self, path: str) -> Dialect:
        """*path* is one of `paths`."""
        dialect = self._by_path.get(path)
        if dialect is None:
            self._by_path[path] = dialect = self.named(self._names[path])
        return dialect
