"""The gateway that runs at the address of a configuration, as a command asks it: over HTTP, by its ``/admin``."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import msgspec

from moltbot_edge.config.schema import Config
from moltbot_edge.core.errors import UnknownPath, UnknownSession
from moltbot_edge.gateway.explanation import Explanation
from moltbot_edge.http_client import Client, Clients, ConnectError, HTTPError, Response
from moltbot_edge.local.pull import Asked, Event
from moltbot_edge.local.shelf import Shelf
from moltbot_edge.network.certificates import Certificates

MODELS: Final = "/admin/models"
EXPLAIN: Final = "/admin/router/explain"
SESSIONS: Final = "/v1/sessions"
COMPACT: Final = "/admin/sessions/compact"
WITH_A_KEY: Final = "(--key KEY, or MOLTBOT_EDGE_KEY in the environment)"
WHAT_THERE_IS: Final = "`moltbot-edge sessions` lists what there is"
ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class _Error(msgspec.Struct):
    message: str
    code: str | None = None


class _Refused(msgspec.Struct):
    error: _Error


class Refused(Exception):
    """What the gateway said instead, or why it could not be asked."""


class NobodyThere(Exception):
    """Nobody listens, or somebody who knows nothing of what was asked."""


class Running:
    """What may raise `Refused`."""

    def __init__(self, client: Client, url: str) -> None:
        self.url = url
        self._client = client

    def shelf(self) -> Shelf | None:
        """None where nobody listens, or somebody who is no gateway with models of this board."""
        try:
            answer = self._client.get(MODELS)
        except ConnectError:
            return None
        except HTTPError as error:
            raise Refused(f"{self.url} does not answer: {error or error.__class__.__name__}") from error
        if answer.status_code in (401, 403):
            raise Refused(f"{_said(answer)} {WITH_A_KEY}")
        try:
            return msgspec.json.decode(answer.content, type=Shelf)
        except msgspec.DecodeError:
            return None

    def explanation(self, body: bytes) -> Explanation | None:
        """None where nobody listens, or somebody who knows nothing of it."""
        try:
            answer = self._client.post(EXPLAIN, content=body, headers={"Content-Type": "application/json"})
        except ConnectError:
            return None
        except HTTPError as error:
            raise Refused(f"{self.url} does not answer: {error or error.__class__.__name__}") from error
        if answer.status_code in (401, 403):
            raise Refused(f"{_said(answer)} {WITH_A_KEY}")
        try:
            if answer.status_code == 200:
                return msgspec.json.decode(answer.content, type=Explanation)
            refused = msgspec.json.decode(answer.content, type=_Refused).error
        except msgspec.DecodeError:
            return None
        if refused.code == UnknownPath.code:
            return None
        raise Refused(refused.message)

    def ask(self, method: str, path: str) -> dict[str, Any]:
        try:
            answer = self._client.request(method, f"{MODELS}/{path}")
        except HTTPError as error:
            raise Refused(f"{self.url} does not answer: {error or error.__class__.__name__}") from error
        if answer.status_code != 200:
            raise Refused(_said(answer))
        return msgspec.json.decode(answer.content, type=dict[str, Any])

    def pull(self, asked: Asked) -> Iterator[Event]:
        try:
            with self._client.stream("POST", f"{MODELS}/pull", json=msgspec.to_builtins(asked)) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise Refused(_said(answer))
                for line in answer.iter_lines():
                    yield msgspec.json.decode(line, type=Event)
        except (HTTPError, msgspec.DecodeError) as error:
            raise Refused(f"{self.url} went away: {error}. The next pull goes on from here") from error

    def sessions(self, method: str, path: str = "", *, content: bytes | None = None, **query: str | None) -> bytes:
        """What `server.sessions` answers at *path*, below its own. Raises `NobodyThere`."""
        with self.session_lines(method, path, content=content, **query) as pieces:
            return b"".join(pieces)

    @contextmanager
    def session_lines(
        self, method: str, path: str = "", *, content: bytes | None = None, **query: str | None
    ) -> Generator[Iterator[bytes]]:
        """As `sessions`, as it comes."""
        url = COMPACT if path == "compact" else f"{SESSIONS}{path}"
        params = {name: value for name, value in query.items() if value is not None}
        try:
            with self._client.stream(method, url, params=params, content=content) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _refusal(answer)
                yield answer.iter_bytes()
        except ConnectError as error:
            raise NobodyThere from error
        except HTTPError as error:
            raise Refused(f"{self.url} does not answer: {error or error.__class__.__name__}") from error


@contextmanager
def running(config: Config, key: str | None) -> Generator[Running]:
    """Of the configuration's address, whether anybody is there or not."""
    server = config.server
    host = ANYWHERE.get(server.host, server.host)
    shown = f"[{host}]" if ":" in host else host
    url = f"{'http' if server.tls is None else 'https'}://{shown}:{server.port}"
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with Clients(Certificates(os.environ), os.environ).blocking(
        base_url=url,
        headers=headers,
        ca_file=None if server.tls is None else server.tls.cert,
        silence_s=config.engines.start_s + 60,  # loading says nothing until it is done
    ) as client:
        yield Running(client, url)


def of(name: str, action: str = "") -> str:
    return quote(name, safe="/") + (f"/{action}" if action else "")


def in_path(name: str) -> str:
    """A name as one piece of a path: also ``..``, which would be a step up."""
    return "/" + quote(name, safe="").replace(".", "%2E")


def _refusal(answer: Response) -> Exception:
    try:
        refused = msgspec.json.decode(answer.content, type=_Refused).error
    except msgspec.DecodeError:
        return NobodyThere()
    if refused.code == UnknownPath.code:
        return NobodyThere()
    if refused.code == UnknownSession.code:
        return Refused(f"{refused.message}; {WHAT_THERE_IS}")
    return Refused(f"{refused.message} {WITH_A_KEY}" if answer.status_code in (401, 403) else refused.message)


def _said(answer: Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.url} answered {answer.status_code}"
