"""Which models there are: alias -> route -> deployments -> upstream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from moltbot_edge.core.errors import UnknownModel


class Upstream(msgspec.Struct, frozen=True):
    """A base URL with credentials, limits and a dialect. *base_path* has no slash at its end (``/v1``, or empty).

    *ca_file* holds the certificates trusted for it, in place of the system's. *model_file* is set for an engine on
    this board, whose address is known only once it runs; *engine_args* are its flags after the profile's, and the rest
    is what the configuration wishes for it: see `config.schema.Model`. Where *engine_command* is another program than
    llama-server, *model_file* may be empty.

    *auto*: nobody said its dialect, which is assumed until it is found out. *also* are dialects that it speaks besides,
    each with its base path. *props* are a llama-server's own words of its model, for `core.target.abilities`.
    """

    name: str
    scheme: str
    host: str
    port: int
    base_path: str
    dialect: str = "openai-chat"
    auto: bool = False
    also: tuple[tuple[str, str], ...] = ()
    props: bytes = b""
    api_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    ca_file: str | None = None
    model_file: str | None = None
    engine_args: tuple[str, ...] = ()
    engine_pin: bool = False
    engine_ttl_s: float | None = None
    engine_memory_mb: int | None = None
    engine_command: tuple[str, ...] = ()
    engine_health: str = "/health"


def as_spoken(upstream: Upstream, dialect: str) -> Upstream:
    """*upstream* as it is asked in *dialect*, where it speaks that too; else as it is."""
    for name, base_path in upstream.also:
        if name == dialect:
            return msgspec.structs.replace(upstream, dialect=name, base_path=base_path)
    return upstream


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
    """*policy* is a name in the registry; *attempts* counts the first.

    *fallbacks* are names to be asked for once every deployment has failed, *context_fallbacks* where the prompt is
    longer than any of them takes. *leave_lan* lets what is meant for a private deployment go to another off the LAN.
    """

    alias: str
    deployments: tuple[Deployment, ...]
    policy: str
    attempts: int
    fallbacks: tuple[str, ...] = ()
    context_fallbacks: tuple[str, ...] = ()
    leave_lan: bool = False


class Catalog(msgspec.Struct, frozen=True):
    """*routes* are by alias; one with a ``*`` in it stands for every name that fits and has no route of its own.

    *listed* are names that such a pattern stands for, as far as its upstreams have told; others may be asked for too.
    """

    routes: Mapping[str, Route]
    listed: Mapping[str, tuple[str, ...]] = {}

    def route(self, alias: str) -> Route:
        """Raises `UnknownModel`, whose message lists what there is.

        Of a name that a pattern stands for, the route keeps the pattern as its alias, and its deployments theirs:
        what is counted of them does not grow with what callers make up.
        """
        found = self.routes.get(alias) or self._fitting(alias)
        if found is None:
            known = ", ".join(sorted(self.routes)) or "none: add one to model_registry, or a GGUF file to model_store"
            raise UnknownModel(f"no model named {alias!r}; configured: {known}", param="model")
        return found

    def names(self, allowed: Sequence[str] | None = None) -> list[str]:
        """Every alias that callers may use, in the configuration's order; only those in *allowed* where given.

        Not the patterns, which are no names, but what is known of them; nor an ``auto`` that has no choice.
        """
        own = [
            name
            for name, route in self.routes.items()
            if WILD not in name and (name != AUTO or len(route.deployments) > 1)
        ]
        if self.listed:
            own = list(dict.fromkeys((*own, *(name for several in self.listed.values() for name in several))))
        return [name for name in own if allowed is None or named(name, allowed)]

    def _fitting(self, alias: str) -> Route | None:
        """Of several patterns, the one that says most of the name."""
        fitting = [route for name, route in self.routes.items() if WILD in name and fits(alias, name)]
        if not fitting or WILD in alias:
            return None
        route = max(fitting, key=lambda one: len(one.alias))
        start, _, end = route.alias.partition(WILD)
        between = alias[len(start) : len(alias) - len(end)]
        deployments = tuple(
            msgspec.structs.replace(one, model=one.model.replace(WILD, between, 1)) for one in route.deployments
        )
        return msgspec.structs.replace(route, deployments=deployments)


AUTO = "auto"  # any model, as the policy says, where no alias of this name says which
WILD = "*"  # in a route's alias and a deployment's model; any text, an empty one too


def fits(name: str, pattern: str) -> bool:
    """Whether *pattern*, with one ``*`` in it, stands for *name*."""
    start, _, end = pattern.partition(WILD)
    return len(name) >= len(start) + len(end) and name.startswith(start) and name.endswith(end)


def named(name: str, allowed: Sequence[str]) -> bool:
    """Whether *name* is among *allowed*, as itself or by a pattern."""
    return name in allowed or any(WILD in one and fits(name, one) for one in allowed)
