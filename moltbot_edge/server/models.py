"""What there is: ``GET /v1/models`` and ``/v1/models/{id}``, in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from moltbot_edge.core.catalog import Catalog
from moltbot_edge.core.errors import UnknownModel
from moltbot_edge.server.auth import Auth
from moltbot_edge.server.connection import Scope
from moltbot_edge.server.reading import Told

ONE = "/v1/models/"  # a model's name follows, which may hold slashes


class ModelsEndpoint:
    """*catalog* gives what there is now. *since* is when the gateway started, in seconds since 1970.

    That is OpenAI's ``created``, which clients demand.
    """

    def __init__(self, catalog: Callable[[], Catalog], auth: Auth, since: int) -> None:
        self._catalog = catalog
        self._auth = auth
        self._since = since

    def all(self, scope: Scope) -> Told:
        holder = self._auth.holder(scope["headers"])
        models = [self._model(name) for name in self._catalog().names(holder.models)]
        return Told(msgspec.json.encode({"object": "list", "data": models}))

    def one(self, scope: Scope) -> Told:
        """Raises `UnknownModel`, also for a model that exists and is not this key's to use."""
        holder = self._auth.holder(scope["headers"])
        name = scope["path"].removeprefix(ONE)
        names = self._catalog().names(holder.models)
        if name not in names:
            raise UnknownModel(f"no model named {name!r}; there is: {', '.join(names) or 'none'}", param="model")
        return Told(msgspec.json.encode(self._model(name)))

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._since, "owned_by": "moltbot-edge"}
