"""What `check` asks of ``sessions:``: that its store is there, and that what is said to it makes sense."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from moltbot_edge.config.decode import Decoded
from moltbot_edge.config.known import Known
from moltbot_edge.config.problem import Path, unknown
from moltbot_edge.kernel.registry import BUILTINS

# The built-in stores that look at a field, where not all do.
OF_STORES: Final[dict[str, tuple[str, ...]]] = {
    "path": ("disk",),
    "url": ("redis",),
    "size_mb": ("disk", "memory"),  # a Redis server has its own limit: maxmemory
}

Found = Iterator[tuple[Path, str]]


def sessions(decoded: Decoded, known: Known) -> Found:
    said, at = decoded.config.sessions, ("sessions",)
    if decoded.sound(*at, "store"):
        if known.stores is not None and said.store not in known.stores:
            yield (*at, "store"), unknown("store of sessions", said.store, known.stores)
        elif known.lacking is not None and (lacking := known.lacking(said.store)) is not None:
            yield (*at, "store"), lacking
        if said.store == "disk" and decoded.sound(*at, "path"):
            for message in _folder(said.path):
                yield (*at, "path"), message
        if said.store == "redis" and decoded.sound(*at, "url"):
            for message in _redis(said.url):
                yield (*at, "url"), message
    if (
        said.store != "redis"
        and said.session_mb > said.size_mb
        and all(decoded.sound(*at, field) for field in ("size_mb", "session_mb"))
    ):
        # The field that the file names is the one to change.
        path = (*at, "size_mb") if (*at, "size_mb") in decoded.places else (*at, "session_mb")
        message = (
            f"one session may have {said.session_mb} MiB (session_mb) but all together only {said.size_mb} (size_mb)"
        )
        yield path, message


def _folder(path: str) -> Iterator[str]:
    """Whether it may be used is not asked: who checks may be another user than who serves."""
    if "\0" in path:
        yield "expected a folder, such as /var/lib/moltbot/sessions"
    elif os.path.exists(path) and not os.path.isdir(path):
        yield f"{path} is no folder"


def _redis(text: str) -> Iterator[str]:
    """Not what was found: it may hold a password."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        port = 0
    if port == 0 or (url.scheme, bool(url.hostname)) not in (("redis", True), ("rediss", True), ("unix", False)):
        yield "expected redis://host:6379/0, or rediss:// for TLS, or unix:///path/to/redis.sock"
    elif url.scheme == "unix" and url.path in ("", "/"):
        yield "expected the path of a socket, as in unix:///run/redis/redis.sock"
    elif url.scheme != "unix" and not re.fullmatch(r"/?\d*", url.path):
        yield "expected the number of a database after the host, as in redis://host:6379/0"


def of_another_store(decoded: Decoded) -> Found:
    """What is said to a store that does not look at it. Of a plug-in's, nobody knows."""
    store, at = decoded.config.sessions.store, ("sessions",)
    for field, looking in OF_STORES.items():
        if store in BUILTINS["store"] and store not in looking and (*at, field) in decoded.places:
            yield (*at, field), f"the store {store!r} does not look at it; it is for {' and '.join(looking)}"
