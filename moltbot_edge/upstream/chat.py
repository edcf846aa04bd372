"""A deployment's request on the wire: which address, whose credentials, what path."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from moltbot_edge.api import (
    Deployment,
    Dialect,
    InvalidReply,
    TruncatedReply,
    Upstream,
    UpstreamRefused,
    UpstreamTimeout,
)
from moltbot_edge.core.head import Body
from moltbot_edge.network.certificates import Certificates
from moltbot_edge.network.names import Names
from moltbot_edge.upstream.pool import Place, Pool, in_line
from moltbot_edge.upstream.ticker import Ticker
from moltbot_edge.upstream.wire import Address, Reply, WireLimits

REFUSAL_BYTES = 64 * 1024  # what is kept of an upstream's error
JSON_BODY = b"Content-Type: application/json\r\n"
JOINED_BYTES = 32 * 1024  # up to this a request leaves as one buffer: a copy is cheaper than a second one

_SECONDS = re.compile(rb"\d{1,9}")  # more are no time to come back


class Upstreams:
    """The pools, one to an upstream, its scheme and what it is trusted by, made at the first request.

    *dialect* gives one by its name.
    """

    def __init__(
        self,
        dialect: Callable[[str], Dialect],
        limits: WireLimits,
        ticker: Ticker,
        names: Names,
        certificates: Certificates,
    ) -> None:
        self._dialect = dialect
        self._limits = limits
        self._ticker = ticker
        self._names = names
        self._certificates = certificates
        self._pools: dict[tuple[str, str, str | None], Pool] = {}
        self._heads: dict[tuple[str, str, str], bytes] = {}  # the address's path may be found out later
        self._needed: dict[str, Mapping[str, str]] = {}  # by deployment, where its dialect needs any

    def request(
        self,
        deployment: Deployment,
        engine_at: Address | None,
        path: str,
        forwarded: bytes,
        body: Sequence[Body],
        form: bytes = b"",
    ) -> tuple[Pool, list[Body]]:
        """What to send to *deployment*, an engine at *engine_at*, and the pool to send it with.

        *path* is below the base URL; *forwarded* are the caller's header lines, each with its CRLF. *form* is the type
        of a body that is no JSON.
        """
        upstream = deployment.upstream
        pool = self._pools.get((upstream.name, upstream.scheme, upstream.ca_file))
        if pool is None or (engine_at is not None and pool.address != engine_at):
            pool = self._fresh_pool(upstream, engine_at)
        size = sum(map(len, body))
        fixed = self._heads.get((deployment.name, upstream.base_path, path)) or self._fresh_head(
            deployment, pool.address, path
        )
        if self._needed and deployment.name in self._needed:
            for name, value in self._needed[deployment.name].items():
                line = name.encode()
                if not forwarded.startswith(line) and b"\n" + line not in forwarded:
                    forwarded += b"%b: %b\r\n" % (line, value.encode())
        if form:
            fixed = fixed.replace(JSON_BODY, b"Content-Type: %b\r\n" % form)
        head = b"%b%bContent-Length: %d\r\n\r\n" % (fixed, forwarded, size)
        return pool, [b"".join((head, *body))] if size <= JOINED_BYTES else [head, *body]

    def room(self, upstream: Upstream) -> bool:
        """Whether it can be sent a request at once; not for engines of this board."""
        pool = self._pools.get((upstream.name, upstream.scheme, upstream.ca_file))
        return pool is None or pool.room

    def ahead(self, upstream: Upstream) -> tuple[int, int]:
        """How many wait for it, and how many it takes at once."""
        pool = self._pools.get((upstream.name, upstream.scheme, upstream.ca_file))
        return (0, self._limits.connections) if pool is None else (len(pool.line), pool.limit)

    async def in_line(self, upstreams: Sequence[Upstream]) -> tuple[int, Place]:
        """Which of *upstreams* has room first, and the place there. Raises `Overloaded`."""
        pools = [
            self._pools.get((one.name, one.scheme, one.ca_file)) or self._fresh_pool(one, None) for one in upstreams
        ]
        place = await in_line(pools)
        return pools.index(place.pool), place

    def probing_pool(self, upstream: Upstream) -> Pool:
        """For one question: its caller closes it. Not among `pools`, whose limits and lines are for callers."""
        trust = functools.partial(self._certificates.trust, upstream.ca_file)
        limits = msgspec.structs.replace(self._limits, connections=1, idle_connections=0)
        return Pool(upstream.name, _address(upstream), limits, self._ticker, self._names, trust)

    def probing_head(self, upstream: Upstream, path: str, body: bytes | None = None) -> bytes:
        """Of a GET, or with a *body*, which follows it, of a POST. *path* is from the address's root."""
        at = _address(upstream)
        needed = [f"{name}: {value}" for name, value in self._needs(upstream).items()]
        if body is None:
            return self._head("GET", path, upstream, at, *needed) + b"\r\n"
        more = "Content-Type: application/json", f"Content-Length: {len(body)}"
        return self._head("POST", path, upstream, at, *needed, *more) + b"\r\n"

    def pools(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    def _fresh_pool(self, upstream: Upstream, engine_at: Address | None) -> Pool:
        key = upstream.name, upstream.scheme, upstream.ca_file
        before = self._pools.get(key)
        if before is not None:  # an engine that came back on another port
            before.close()
            self._heads.clear()
        at = engine_at or _address(upstream)
        trust = functools.partial(self._certificates.trust, upstream.ca_file)
        pool = Pool(upstream.name, at, self._limits, self._ticker, self._names, trust)
        self._pools[key] = pool
        return pool

    def _fresh_head(self, deployment: Deployment, at: Address, path: str) -> bytes:
        upstream = deployment.upstream
        head = self._head("POST", f"{upstream.base_path}{path}", upstream, at, "Content-Type: application/json")
        self._heads[deployment.name, upstream.base_path, path] = head
        if needed := self._needs(upstream):
            self._needed[deployment.name] = needed
        return head

    def _needs(self, upstream: Upstream) -> Mapping[str, str]:
        """What the configuration does not say."""
        needed = self._dialect(upstream.dialect).needed
        if not needed:
            return needed
        said = {name.lower() for name, _ in upstream.headers}
        return {name: value for name, value in needed.items() if name not in said}

    def _head(self, method: str, path: str, upstream: Upstream, at: Address, *more: str) -> bytes:
        """Without the empty line at its end."""
        host = f"[{at.host}]" if ":" in at.host else at.host
        default_port = 443 if at.tls else 80
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {host}" if at.port == default_port else f"Host: {host}:{at.port}",
            *more,
            "Accept-Encoding: identity",  # what is compressed cannot be counted in passing
        ]
        if upstream.api_key is not None:
            lines.append("{}: {}".format(*self._dialect(upstream.dialect).credentials(upstream.api_key)))
        lines += [f"{name}: {value}" for name, value in upstream.headers]
        return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def _address(upstream: Upstream) -> Address:
    return Address(upstream.host, upstream.port, upstream.scheme == "https")


async def refusal(deployment: Deployment, reply: Reply) -> UpstreamRefused | InvalidReply:
    """The error that an answer of 300 and up is. The reply stays the caller's to close."""
    if reply.status < 400:
        target = (reply.header(b"location") or b"nowhere").decode("latin-1")
        return InvalidReply(f"{deployment.name} redirects to {target}: set its endpoint to where it really is")
    try:
        body = await reply.read(REFUSAL_BYTES)
    except (TruncatedReply, InvalidReply, UpstreamTimeout):
        body = b""
    if len(body) == REFUSAL_BYTES:
        body = b""  # cut, it would not be JSON any more
    return UpstreamRefused(
        f"{deployment.name} answered {reply.status}",
        answered=reply.status,
        body=body,
        content_type=reply.header(b"content-type") or b"application/octet-stream",
        retry_after_s=seconds_until(reply.header(b"retry-after"), time.time()),
    )


def seconds_until(retry_after: bytes | None, now: float) -> float | None:
    """What ``Retry-After`` says, in seconds or as a date (RFC 9110, 10.2.3); None where it makes no sense.

    *now* is seconds since 1970.
    """
    if retry_after is None:
        return None
    if _SECONDS.fullmatch(retry_after):
        return float(retry_after)
    from email.utils import mktime_tz, parsedate_tz  # seldom needed

    date = parsedate_tz(retry_after.decode("latin-1"))
    try:
        return None if date is None else max(mktime_tz(date) - now, 0.0)
    except (ValueError, OverflowError):  # a 99th of a month
        return None
