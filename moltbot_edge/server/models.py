"""What there is: ``GET /v1/models`` and ``/v1/models/{id}``, in OpenAI's shape."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from moltbot_edge.core.catalog import Catalog
from moltbot_edge.core.errors import UnknownModel
from moltbot_edge.server.auth import Auth


class ModelsEndpoint:
    """*since* is when the gateway started, in seconds since 1970: OpenAI's ``created``, which clients demand."""

    def __init__(self, catalog: Catalog, auth: Auth, since: int) -> None:
        self._catalog = catalog
        self._auth = auth
        self._since = since

    async def all(self, request: Request) -> Response:
        holder = self._auth.holder(request.headers.raw)
        models = [self._model(name) for name in self._catalog.names(holder.models)]
        return _json({"object": "list", "data": models})

    async def one(self, request: Request) -> Response:
        """Raises `UnknownModel`, also for a model that exists and is not this key's to use."""
        holder = self._auth.holder(request.headers.raw)
        name = request.path_params["name"]
        names = self._catalog.names(holder.models)
        if name not in names:
            raise UnknownModel(f"no model named {name!r}; there is: {', '.join(names) or 'none'}", param="model")
        return _json(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._since, "owned_by": "moltbot-edge"}


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
