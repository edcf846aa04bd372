"""The catalog that a configuration describes, with the GGUF files found in the model stores. Pure."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from moltbot_edge.config.schema import Alias, Config, Model
from moltbot_edge.core.catalog import AUTO, WILD, Catalog, Deployment, Route, Upstream

DEFAULT_DIALECT = "openai-chat"  # for `type: auto`: what every engine and nearly every machine speaks
DEFAULT_PORTS = {"http": 80, "https": 443}
# Where engines listen that nobody has told otherwise: Ollama, LM Studio, llama-server, vLLM.
USUAL_PORTS = (11434, 1234, 8080, 8000)


def catalog_of(config: Config, found: Mapping[str, Path], stores: Sequence[Path]) -> Catalog:
    """*found* are GGUF files by name; one that the registry names already is not added twice.

    The configuration has been checked: every alias leads somewhere.
    """
    deployments: dict[str, list[Deployment]] = {}
    for model in config.model_registry:
        several = deployments.setdefault(model.name, [])
        several.append(_deployment(model, stores, len(several)))
    taken = {one.upstream.model_file for several in deployments.values() for one in several}
    for name, file in found.items():
        if name not in deployments and name not in config.aliases and str(file) not in taken:
            deployments[name] = [_deployment(Model(name=name, file=str(file)), stores, 0)]

    routes = {
        name: _route(config, name, _told_apart(several, deployments), config.router.policy)
        for name, several in deployments.items()
    }
    for name, alias in config.aliases.items():
        wanted = alias if isinstance(alias, Alias) else Alias(models=[alias])
        several = [one for model in wanted.models for one in routes[model].deployments]
        route = _route(config, name, tuple(several), wanted.policy or config.router.policy)
        routes[name] = msgspec.structs.replace(route, leave_lan=wanted.leave_lan)
    if AUTO not in routes and (
        every := [one for name in deployments if WILD not in name for one in routes[name].deployments]
    ):
        routes[AUTO] = _route(config, AUTO, tuple(every), config.router.policy)
    return Catalog(routes)


def _route(config: Config, name: str, deployments: tuple[Deployment, ...], policy: str) -> Route:
    router = config.router
    return Route(
        name,
        deployments,
        policy,
        router.attempts,
        tuple(router.fallbacks.get(name, ())),
        tuple(router.context_fallbacks.get(name, ())),
    )


def with_file(catalog: Catalog, config: Config, name: str, file: Path) -> Catalog | None:
    """*catalog* with the model of *file*, that has come since it was made. None where *name* is somebody else's."""
    if name in catalog.routes or name in config.aliases:
        return None
    one = _deployment(Model(name=name, file=str(file)), (), 0)
    routes = {**catalog.routes, name: _route(config, name, (one,), config.router.policy)}
    if AUTO not in config.aliases and all(model.name != AUTO for model in config.model_registry):
        before = routes[AUTO].deployments if AUTO in routes else ()
        routes[AUTO] = _route(config, AUTO, (*before, one), config.router.policy)
    return Catalog(routes, catalog.listed)


def without_engine(catalog: Catalog, name: str) -> Catalog:
    """*catalog* without the engine of that name, and without routes that had nothing else."""
    routes = {}
    for alias, route in catalog.routes.items():
        left = tuple(one for one in route.deployments if one.upstream.model_file is None or one.upstream.name != name)
        if left:
            routes[alias] = msgspec.structs.replace(route, deployments=left)
    return Catalog(routes, catalog.listed)


def nearby(own_port: int) -> list[Upstream]:
    """Addresses on this machine where an engine may be; not our own."""
    return [_remote(Model(name="", endpoint=f"http://127.0.0.1:{port}")) for port in USUAL_PORTS if port != own_port]


def engines_of(catalog: Catalog) -> dict[str, Upstream]:
    """The upstreams that are engines on this board, by name."""
    upstreams = (one.upstream for route in catalog.routes.values() for one in route.deployments)
    return {upstream.name: upstream for upstream in upstreams if upstream.model_file is not None}


def _deployment(model: Model, stores: Sequence[Path], before: int) -> Deployment:
    """*before* counts the deployments of the same name: two engines of one alias are two upstreams."""
    return Deployment(
        name=model.name,
        upstream=_remote(model) if model.endpoint is not None else _engine(model, stores, before),
        model=model.model or (WILD if WILD in model.name else model.name),
        weight=model.weight,
        context_tokens=model.context_tokens,
        private=model.private,
        tools=model.tools,
        images=model.images,
        price_input_per_mtok=model.price_input_per_mtok,
        price_output_per_mtok=model.price_output_per_mtok,
    )


def _remote(model: Model) -> Upstream:
    url = urlsplit(model.endpoint or "")
    host = url.hostname or ""
    port = url.port or DEFAULT_PORTS[url.scheme]
    return Upstream(
        name=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        scheme=url.scheme,
        host=host,
        port=port,
        base_path=_base_path(url.path.rstrip("/"), model.type),
        dialect=DEFAULT_DIALECT if model.type == "auto" else model.type,
        auto=model.type == "auto",
        api_key=model.api_key,
        headers=tuple(model.headers.items()),
        ca_file=model.ca_file,
    )


def _base_path(path: str, dialect: str) -> str:
    """An address alone means the usual place; who writes a path knows it. Ollama's own paths begin with ``/api``."""
    if dialect == "ollama":
        return path.removesuffix("/v1").removesuffix("/api")
    return path or "/v1"


def _engine(model: Model, stores: Sequence[Path], before: int) -> Upstream:
    file = Path(model.file or "")
    places = [folder / file for folder in stores]  # an absolute file stays as it is
    context = () if model.context_tokens is None else ("--ctx-size", str(model.context_tokens))
    return Upstream(
        name=model.name if before == 0 else f"{model.name}#{before + 1}",
        scheme="http",
        host="127.0.0.1",
        port=0,
        base_path=_base_path("", model.type),
        dialect=DEFAULT_DIALECT if model.type == "auto" or model.command is None else model.type,
        model_file="" if model.file is None else str(next((place for place in places if place.exists()), file)),
        engine_args=(*context, *model.engine_args),
        engine_pin=model.pin,
        engine_ttl_s=model.ttl_s,
        engine_memory_mb=model.memory_mb,
        engine_command=() if model.command is None else tuple(shlex.split(model.command)),
        engine_health=model.health,
    )


def _told_apart(several: Sequence[Deployment], taken: Collection[str]) -> tuple[Deployment, ...]:
    """Deployments of one alias named by where they are: ``chat@box:11434``, and ``chat@box:11434#2``.

    Never as in *taken*: what is kept of a deployment, such as its credentials, is kept by its name.
    """
    if len(several) == 1:
        return tuple(several)
    told: dict[str, Deployment] = {}
    for one in several:
        name = place = f"{one.name}@{one.upstream.name}"
        copies = itertools.count(2)
        while name in told or name in taken:
            name = f"{place}#{next(copies)}"
        told[name] = msgspec.structs.replace(one, name=name, registry_name=one.name)
    return tuple(told.values())
