"""What there is, as Ollama tells it: ``/api/tags``, ``show``, ``ps``, ``version``, and that it runs. Not its chats.

Made at the first such request. Models are the configuration's, so what would fetch, make or remove one is refused with
what to do instead. Source: Ollama's API documentation, and what programs look at: ``capabilities`` and the context's
length in ``model_info`` decide for which of them a model can be chosen.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from moltbot_edge.core.catalog import Catalog, Route
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import Dialect
from moltbot_edge.core.errors import (
    BodyTooLarge,
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    UnknownModel,
    UnknownPath,
)
from moltbot_edge.dialects.ollama import LATEST
from moltbot_edge.dialects.ollama_values import moment
from moltbot_edge.local.gguf import Facts, GgufError
from moltbot_edge.local.store import facts_of
from moltbot_edge.server.auth import Auth, KeyHolder
from moltbot_edge.server.call import Message
from moltbot_edge.server.connection import Scope
from moltbot_edge.server.reading import Send, Told

RUNS: Final = Told(b"Ollama is running", kind=b"text/plain; charset=utf-8")  # to the letter: programs compare it
# The release whose API this is like. Programs want some least one, the editors' 0.6.4 and more.
VERSION: Final = "0.14.0"
FOR_EVER: Final = "2318-01-01T00:00:00Z"  # as Ollama says it
BODY_BYTES: Final = 64 * 1024
# Paths that change what models there are.
CHANGING: Final = frozenset({"pull", "push", "create", "copy", "delete", "blobs"})
INSTEAD: Final = (
    "this gateway has the models of its configuration: add a machine to model_registry there, "
    "or put a GGUF file into its model_store, and start it again"
)

_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?[bm])(?![a-z0-9])", re.IGNORECASE)
_QUANTIZATION = re.compile(r"(?<![a-z0-9])(i?q\d\w*|bf16|f16|f32|mxfp4\w*)(?![a-z0-9])", re.IGNORECASE)


class _Named(msgspec.Struct):
    """*name* is what older clients say."""

    model: str | None = None
    name: str | None = None


class OllamaEndpoints:
    """*dialect* writes the errors. *context_tokens* is an engine's where nothing else is said.

    *since* is when the gateway started, in seconds since 1970.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        auth: Auth,
        dialect: Dialect,
        engine_states: Callable[[], Mapping[str, str]],
        context_tokens: int,
        since: int,
    ) -> None:
        self._catalog = catalog
        self._auth = auth
        self._dialect = dialect
        self._engine_states = engine_states
        self._context_tokens = context_tokens
        self._since = since

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        try:
            told = await self._told(scope, receive)
        except GatewayError as error:
            told = Told(self._dialect.error(error), error.status)
        headers = [(b"content-type", told.kind), (b"content-length", b"%d" % len(told.body))]
        await send({"type": "http.response.start", "status": told.status, "headers": headers})
        await send({"type": "http.response.body", "body": told.body})

    async def _told(self, scope: Scope, receive: Callable[[], Awaitable[Message]]) -> Told:
        path, method = scope["path"], scope["method"]
        what = path.removeprefix("/api/")
        if what.partition("/")[0] in CHANGING:
            raise InvalidRequest(f"{path} is not for this Ollama: {INSTEAD}")
        if what not in ("/", "version", "tags", "ps", "show"):
            raise UnknownPath(f"there is nothing at {path}; docs/dialects.md lists the endpoints")
        if method not in (("POST",) if what == "show" else ("GET", "HEAD")):
            raise MethodNotAllowed(f"{path} does not take {method}")
        match what:
            case "/":
                return RUNS
            case "version":
                return _json({"version": VERSION})
            case "tags":
                return _json({"models": [self._listed(name) for name in self._names(self._holder(scope))]})
            case "ps":
                return _json({"models": self._running(self._holder(scope))})
            case _:
                return await self._show(self._holder(scope), await _body(receive))

    def _holder(self, scope: Scope) -> KeyHolder:
        return self._auth.holder(scope["headers"])

    def _names(self, holder: KeyHolder) -> list[str]:
        return self._catalog().names(holder.models)

    def _listed(self, name: str) -> dict[str, Any]:
        route = self._catalog().route(name)
        file = _file(route)
        return {
            "name": name,
            "model": name,
            "modified_at": moment(self._since),
            "size": _bytes(file),
            "digest": hashlib.sha256(name.encode()).hexdigest(),
            "details": _details(route, file, None),
        }

    def _running(self, holder: KeyHolder) -> list[dict[str, Any]]:
        states = self._engine_states()
        running = []
        for name in self._names(holder):
            route = self._catalog().route(name)
            if len(route.deployments) == 1 and states.get(route.deployments[0].upstream.name) == "ready":
                context = {"context_length": route.deployments[0].context_tokens or self._context_tokens}
                running.append(self._listed(name) | {"expires_at": FOR_EVER, "size_vram": 0} | context)
        return running

    async def _show(self, holder: KeyHolder, body: bytes) -> Told:
        try:
            said = msgspec.json.decode(body, type=_Named)
        except UNREADABLE as error:
            raise InvalidRequest(f"the request body is not right: {error}") from error
        name = (said.model or said.name or "").removesuffix(LATEST)
        if not name:
            raise InvalidRequest("the field `model` is missing; GET /api/tags lists what there is", param="model")
        names = self._names(holder)
        if name not in names:
            raise UnknownModel(f"model {name!r} not found; there is: {', '.join(names) or 'none'}", param="model")
        route = self._catalog().route(name)
        file = _file(route)
        facts = None if file is None else await asyncio.to_thread(_facts, file)
        architecture = facts.architecture if facts is not None else "unknown"
        info: dict[str, Any] = {"general.architecture": architecture, "general.basename": name}
        context = self._context(route, facts)
        if context is not None:
            info[f"{architecture}.context_length"] = context
        return _json(
            {
                "license": "",
                "modelfile": f"# {name} is configured in moltbot-edge\nFROM {name}\n",
                "parameters": "" if context is None else f"num_ctx {context}",
                "template": "",
                "details": _details(route, file, facts),
                "model_info": info,
                "capabilities": _capabilities(route, facts),
                "modified_at": moment(self._since),
            }
        )

    def _context(self, route: Route, facts: Facts | None) -> int | None:
        """The shortest of the route's that is known: what is longer may fail."""
        known = [one.context_tokens for one in route.deployments if one.context_tokens is not None]
        if facts is not None and not known:
            known = [min(self._context_tokens, facts.context_tokens or self._context_tokens)]
        return min(known, default=None)


def _capabilities(route: Route, facts: Facts | None) -> list[str]:
    if facts is not None and facts.embeds:
        return ["embedding"]
    able = ["completion"]
    if any(one.tools is not False for one in route.deployments):
        able.append("tools")
    if any(one.images for one in route.deployments):
        able.append("vision")
    return able


def _details(route: Route, file: Path | None, facts: Facts | None) -> dict[str, Any]:
    said = file.stem if file is not None else route.deployments[0].model
    size, quantization = _SIZE.search(said), _QUANTIZATION.search(said)
    family = facts.architecture if facts is not None else ""
    return {
        "parent_model": "",
        "format": "gguf" if file is not None else "",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": size[1].upper() if size is not None else "",
        "quantization_level": quantization[1].upper() if quantization is not None else "",
    }


def _file(route: Route) -> Path | None:
    """Of a model that is an engine on this board and nothing else."""
    files = [one.upstream.model_file for one in route.deployments]
    return Path(files[0]) if len(files) == 1 and files[0] else None


def _bytes(file: Path | None) -> int:
    try:
        return 0 if file is None else file.stat().st_size
    except OSError:
        return 0


def _facts(file: Path) -> Facts | None:
    try:
        return facts_of(file)
    except (GgufError, OSError):
        return None


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    whole = b""
    while True:
        message = await receive()
        piece: bytes = message.get("body", b"")
        whole += piece
        if len(whole) > BODY_BYTES:
            raise BodyTooLarge(f"the request's body is larger than {BODY_BYTES} bytes")
        if not message.get("more_body", False):
            return whole


def _json(said: object) -> Told:
    return Told(msgspec.json.encode(said), kind=b"application/json; charset=utf-8")
