"""``/admin/models``: the models of this board, for whoever runs it. A key needs ``admin: true``.

``GET`` shows them; ``POST .../NAME/load`` and ``/unload``; ``DELETE .../NAME``. ``POST .../pull`` answers with a line
of JSON for each thing that happens (`local.pull.Event`); who leaves ends the pull, and the next one goes on with it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import GatewayError, InvalidRequest
from moltbot_edge.gateway.own_models import OwnModels
from moltbot_edge.local.pull import Asked, Event, Failed
from moltbot_edge.server.auth import Auth
from moltbot_edge.server.management import body_of, check_page

BODY_BYTES = 16 * 1024

_decode = msgspec.json.Decoder(Asked).decode


class OwnModelsEndpoints:
    def __init__(self, auth: Auth, models: OwnModels) -> None:
        self._auth = auth
        self._models = models

    async def all(self, request: Request) -> Response:
        self._check(request)
        return _json(await self._models.shelf())

    async def load(self, request: Request) -> Response:
        self._check(request)
        name = request.path_params["name"]
        return _json({"model": name, "state": await self._models.load(name)})

    async def unload(self, request: Request) -> Response:
        self._check(request)
        name = request.path_params["name"]
        return _json({"model": name, "state": await self._models.unload(name)})

    async def remove(self, request: Request) -> Response:
        self._check(request)
        return _json(await self._models.remove(request.path_params["name"]))

    async def pull(self, request: Request) -> Response:
        self._check(request)
        try:
            asked = _decode(await body_of(request, BODY_BYTES, "it names a model"))
        except UNREADABLE as error:
            raise InvalidRequest(f'expected {{"source": "OWNER/NAME:QUANT"}} or a URL: {error}') from error
        return StreamingResponse(_lines(self._models.pull(asked)), media_type="application/x-ndjson")

    def _check(self, request: Request) -> None:
        self._auth.holder(request.headers.raw).check_admin()
        check_page(request)


async def _lines(events: AsyncGenerator[Event]) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        try:
            async for event in events:
                yield msgspec.json.encode(event) + b"\n"
        except GatewayError as error:
            yield msgspec.json.encode(Failed(error.message)) + b"\n"


def _json(said: Any) -> Response:
    return Response(msgspec.json.encode(said), media_type="application/json")
