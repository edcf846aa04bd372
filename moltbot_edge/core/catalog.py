"""Which models there are: alias -> route -> deployments -> upstream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from moltbot_edge.core.errors import UnknownModel


class Upstream(msgspec.Struct, frozen=True):
    """A base URL with credentials, limits and a dialect. *base_path* has no slash at its end (``/v1``, or empty).

    *ca_file* holds the certificates trusted for it, in place of the system's. *model_file* is set for an engine on
    this board, whose address is known only once it runs; *engine_args* are its flags after the profile's.
    """

    name: str
    scheme: str
    host: str
    port: int
    base_path: str
    dialect: str = "openai-chat"
    api_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    ca_file: str | None = None
    model_file: str | None = None
    engine_args: tuple[str, ...] = ()


class Deployment(msgspec.Struct, frozen=True):
    """One model as served by one upstream. *model* is the upstream's own name for it.

    *registry_name* is the configuration's name, which several may share; None where it is *name* itself. *tools* and
    *images* say whether it takes them, None where nobody said. Prices are for a million tokens, in one money for all.
    """

    name: str
    upstream: Upstream
    model: str
    weight: float = 1.0
    context_tokens: int | None = None
    private: bool = False
    registry_name: str | None = None
    tools: bool | None = None
    images: bool | None = None
    price_input_per_mtok: float = 0.0
    price_output_per_mtok: float = 0.0

    @property
    def shared_name(self) -> str:
        return self.registry_name or self.name


class Route(msgspec.Struct, frozen=True):
    """*policy* is a name in the registry; *attempts* counts the first."""

    alias: str
    deployments: tuple[Deployment, ...]
    policy: str
    attempts: int


class Catalog(msgspec.Struct, frozen=True):
    routes: Mapping[str, Route]

    def route(self, alias: str) -> Route:
        """Raises `UnknownModel`, whose message lists what there is."""
        found = self.routes.get(alias)
        if found is None:
            known = ", ".join(sorted(self.routes)) or "none: add one to model_registry, or a GGUF file to model_store"
            raise UnknownModel(f"no model named {alias!r}; configured: {known}", param="model")
        return found

    def names(self, allowed: Sequence[str] | None = None) -> list[str]:
        """Every alias that callers may use, in the configuration's order; only those in *allowed* where given."""
        return [name for name in self.routes if allowed is None or name in allowed]
