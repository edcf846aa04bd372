"""What there is: ``GET /v1/models`` and ``/v1/models/{id}``, in OpenAI's shape, or in Anthropic's for its callers."""

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
ANTHROPIC = b"anthropic-version"  # every one of its clients sends it


def speaks_anthropic(scope: Scope) -> bool:
    return any(name == ANTHROPIC for name, _ in scope["headers"])


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
        catalog = self._catalog()
        names = catalog.names(holder.models)
        if speaks_anthropic(scope):
            from moltbot_edge.server import anthropic

            return Told(anthropic.page(scope, catalog, names, self._since))
        models = [self._model(name) for name in names]
        return Told(msgspec.json.encode({"object": "list", "data": models}))

    def one(self, scope: Scope) -> Told:
        """Raises `UnknownModel`, also for a model that exists and is not this key's to use."""
        holder = self._auth.holder(scope["headers"])
        name = scope["path"].removeprefix(ONE)
        catalog = self._catalog()
        names = catalog.names(holder.models)
        if name not in names:
            raise UnknownModel(f"no model named {name!r}; there is: {', '.join(names) or 'none'}", param="model")
        if speaks_anthropic(scope):
            from moltbot_edge.server import anthropic

            return Told(anthropic.one(name, catalog, self._since))
        return Told(msgspec.json.encode(self._model(name)))

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._since, "owned_by": "moltbot-edge"}
