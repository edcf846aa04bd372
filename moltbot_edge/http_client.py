"""HTTP for all that is not the chat path: probes, tools, discovery, importers. Chats go through `upstream/wire.py`.

The only importer of httpx. A gateway that only serves has no use for it and its megabytes, so whoever needs this module
imports it where it is used; the names of httpx that a caller needs to say a type or to catch an error are here.
Redirects are not followed unless a call says so: a model's or a caller's wish leads to no address that nobody named.
Not here: how much of a reply is read, and whether to try again.

Source: for proxies curl(1), "Environment"; that what is on this machine or the LAN is reached without one is our own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import httpcore
from httpx import (
    URL,
    AsyncBaseTransport,
    AsyncClient,
    AsyncHTTPTransport,
    BaseTransport,
    Client,
    ConnectError,
    HTTPError,
    HTTPTransport,
    InvalidURL,
    Limits,
    Request,
    Response,
    Timeout,
    TimeoutException,
)

from moltbot_edge import __version__
from moltbot_edge.network.certificates import Certificates, NoCertificates, distrust
from moltbot_edge.network.lan import is_lan
from moltbot_edge.network.names import Names, NoAddress

__all__ = [
    "URL",
    "AsyncClient",
    "Client",
    "Clients",
    "ConnectError",
    "HTTPError",
    "InvalidURL",
    "Response",
    "TimeoutException",
    "proxy_for",
]

USER_AGENT: Final = f"moltbot-edge/{__version__}"
CONNECT_S: Final = 5.0  # as httpx: on a LAN it takes milliseconds, and a second SYN goes out after one second
SILENCE_S: Final = 30.0
CONNECTIONS: Final = 8


class Clients:
    """Makes clients that know whom to trust, how to find names, and what is behind a proxy.

    Both kinds are context managers. They take ``base_url``, ``headers`` and whatever else httpx's own do; *silence_s*
    is how long a reply may pause, *ca_file* trusts the certificates in it and no others. *environment* is the
    process's. An asynchronous client lives in one event loop.
    """

    def __init__(self, certificates: Certificates, environment: Mapping[str, str]) -> None:
        self._certificates = certificates
        self._environment = environment

    def asynchronous(
        self, *, silence_s: float = SILENCE_S, connections: int = CONNECTIONS, ca_file: str | None = None, **more: Any
    ) -> AsyncClient:
        names = Names()

        def make(context: ssl.SSLContext, proxy: str | None) -> AsyncBaseTransport:
            return _Named(names, verify=context, proxy=proxy, limits=_limits(connections), trust_env=False)

        return AsyncClient(transport=_Asynchronous(self, ca_file, make), **_settings(silence_s, more))

    def blocking(
        self, *, silence_s: float = SILENCE_S, connections: int = CONNECTIONS, ca_file: str | None = None, **more: Any
    ) -> Client:
        """For commands, which have no loop."""

        def make(context: ssl.SSLContext, proxy: str | None) -> BaseTransport:
            return HTTPTransport(verify=context, proxy=proxy, limits=_limits(connections), trust_env=False)

        return Client(transport=_Blocking(self, ca_file, make), **_settings(silence_s, more))

    def context(self, url: URL, ca_file: str | None) -> ssl.SSLContext:
        """Without TLS: one that trusts nobody, as reading the system's store takes 20 ms. Raises `NoCertificates`."""
        if url.scheme != "https":
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return self._certificates.trust(ca_file).context

    def proxy(self, url: URL) -> str | None:
        return proxy_for(url.scheme, url.host, self._environment)

    def told(self, error: ConnectError, ca_file: str | None) -> ConnectError:
        """*error*, with what can be done about a certificate that is not believed."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
            cause = cause.__cause__ or cause.__context__
        return error if cause is None else ConnectError(distrust(cause, self._certificates.trust(ca_file)))


def proxy_for(scheme: str, host: str, environment: Mapping[str, str]) -> str | None:
    """The proxy by which *environment* wants *host* to be reached, as a URL; None for directly."""
    if not host or is_lan(host) or _is_exempt(host, _value("no_proxy", environment)):
        return None
    proxy = _value(f"{scheme}_proxy", environment) or _value("all_proxy", environment)
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _value(name: str, environment: Mapping[str, str]) -> str | None:
    return environment.get(name) or environment.get(name.upper()) or None


def _is_exempt(host: str, exempt: str | None) -> bool:
    name = host.rstrip(".").lower()
    for entry in (one.strip().lower().lstrip(".") for one in (exempt or "").split(",")):
        if entry == "*" or (entry and f".{name}".endswith(f".{entry}")):
            return True
        if "/" in entry:
            try:
                if ipaddress.ip_address(name) in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:  # a name, or no network
                continue
    return False


def _limits(connections: int) -> Limits:
    # httpcore's pool counts wrong where it may keep fewer than it may open (encode/httpcore, pull request 1000).
    return Limits(max_connections=connections, max_keepalive_connections=connections)


def _settings(silence_s: float, more: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"User-Agent": USER_AGENT, **dict(more.get("headers") or {})}
    timeout = Timeout(silence_s, connect=min(CONNECT_S, silence_s))
    return {"trust_env": False, "timeout": timeout, **more, "headers": headers}


class _Asynchronous(AsyncBaseTransport):
    """One transport for each way out: direct or by a proxy, with TLS or without. There are a handful."""

    def __init__(
        self, clients: Clients, ca_file: str | None, make: Callable[[ssl.SSLContext, str | None], AsyncBaseTransport]
    ) -> None:
        self._clients, self._ca_file, self._make = clients, ca_file, make
        self._ways: dict[tuple[str, str | None], AsyncBaseTransport] = {}

    async def handle_async_request(self, request: Request) -> Response:
        way = request.url.scheme, self._clients.proxy(request.url)
        try:
            if way not in self._ways:
                self._ways[way] = self._make(self._clients.context(request.url, self._ca_file), way[1])
            return await self._ways[way].handle_async_request(request)
        except NoCertificates as error:
            raise ConnectError(str(error)) from error
        except ConnectError as error:
            raise self._clients.told(error, self._ca_file) from error

    async def aclose(self) -> None:
        for transport in self._ways.values():
            await transport.aclose()


class _Blocking(BaseTransport):
    """As `_Asynchronous`."""

    def __init__(
        self, clients: Clients, ca_file: str | None, make: Callable[[ssl.SSLContext, str | None], BaseTransport]
    ) -> None:
        self._clients, self._ca_file, self._make = clients, ca_file, make
        self._ways: dict[tuple[str, str | None], BaseTransport] = {}

    def handle_request(self, request: Request) -> Response:
        way = request.url.scheme, self._clients.proxy(request.url)
        try:
            if way not in self._ways:
                self._ways[way] = self._make(self._clients.context(request.url, self._ca_file), way[1])
            return self._ways[way].handle_request(request)
        except NoCertificates as error:
            raise ConnectError(str(error)) from error
        except ConnectError as error:
            raise self._clients.told(error, self._ca_file) from error

    def close(self) -> None:
        for transport in self._ways.values():
            transport.close()


class _Named(AsyncHTTPTransport):
    """It finds names as the chat path does. httpx has no seam for that; httpcore's, below it, is public."""

    def __init__(self, names: Names, **options: Any) -> None:
        super().__init__(**options)
        self._pool._network_backend = _Network(names)


class _Network(httpcore.AsyncNetworkBackend):
    def __init__(self, names: Names) -> None:
        self._names = names
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._names.addresses(host)
                return await self._first(addresses, port, local_address, socket_options)
        except NoAddress as error:
            raise httpcore.ConnectError(str(error)) from error
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} did not accept a connection in {timeout:g} s") from error

    async def _first(
        self,
        addresses: Iterable[str],
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        refused: httpcore.ConnectError | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, None, local_address, socket_options)
            except httpcore.ConnectError as error:
                refused = refused or error
        raise refused or httpcore.ConnectError("no address")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)
