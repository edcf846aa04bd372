"""The models of this board while the gateway runs: shown, loaded, ended, removed, and pulled without a restart.

Imported when somebody asks for it. What engines do is their supervisor's to decide.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from moltbot_edge.config.catalog import engines_of, with_file, without_engine
from moltbot_edge.config.schema import Config
from moltbot_edge.core.catalog import Upstream
from moltbot_edge.core.errors import InvalidRequest, ModelInUse, Overloaded, UnknownModel
from moltbot_edge.gateway.directory import Directory
from moltbot_edge.local import store
from moltbot_edge.local.absent import NoEngines
from moltbot_edge.local.launch import EngineModel, engine_model
from moltbot_edge.local.memory import Memory, budget_bytes
from moltbot_edge.local.pull import Asked, Event, Pulled, pull
from moltbot_edge.local.shelf import Shelf, listed
from moltbot_edge.local.supervisor import Supervisor

PULLS_AT_ONCE = 2  # a card writes no faster for more


class Removed(msgspec.Struct, frozen=True):
    """*configured*: `model_registry` still names it, so it is known, and cannot be served."""

    model: str
    files: tuple[str, ...]
    configured: bool


class OwnModels:
    """*environment* is the process's: HF_ENDPOINT, HF_TOKEN, proxies, certificates."""

    def __init__(
        self,
        directory: Directory,
        engines: Supervisor | NoEngines,
        config: Config,
        stores: Sequence[Path],
        environment: Mapping[str, str],
    ) -> None:
        self._directory = directory
        self._engines = engines
        self._config = config
        self._stores = tuple(stores)
        self._environment = environment
        self._pulls = 0

    async def shelf(self) -> Shelf:
        models = [engine_model(upstream) for upstream in self._upstreams().values()]
        said = self._config.engines
        limit = budget_bytes(said.memory_mb, Memory().available(), said.reserve_percent)
        if not models:
            return Shelf(True, limit, ())
        engines = await self._supervisor()
        account = engines.account()
        known = account.limit_bytes if account.limit_bytes is not None else limit
        return await listed(models, engines.survey, known, account.engines)

    async def load(self, name: str) -> str:
        """Its state, once it is ready. Raises as `Supervisor.lease`: with the numbers, where it cannot fit."""
        self._model(name)
        engines = await self._supervisor()
        await engines.ensure_ready(name)
        return engines.states()[name]

    async def unload(self, name: str) -> str:
        """What it answers is finished first."""
        if self._model(name).pin:
            raise ModelInUse(f"{name!r} is pinned (`pin: true`): its engine stays as long as the gateway runs")
        engines = await self._supervisor()
        await engines.stop(name)
        return engines.states()[name]

    async def remove(self, name: str) -> Removed:
        """With its files. Raises `ModelInUse`, or `InvalidRequest` for what is not ours to remove."""
        model = self._model(name)
        files = self._removable(model)
        if model.pin:
            raise ModelInUse(
                f"{name!r} is pinned: take `pin: true` out of the configuration, and restart, to remove it"
            )
        engines = await self._supervisor()
        if not await engines.forget(name):
            raise ModelInUse(f"{name!r} is being used: it can be removed once it is idle")
        configured = any(one.name == name.partition("#")[0] for one in self._config.model_registry)
        if configured:
            await self._add(model)
        else:
            self._directory.catalog = without_engine(self._directory.catalog, name)
        removed = store.remove(files)
        return Removed(name, tuple(str(file) for file in removed), configured)

    async def pull(self, asked: Asked) -> AsyncGenerator[Event]:
        """Into the first of the stores; then callers may ask for it."""
        if self._pulls >= PULLS_AT_ONCE:
            raise Overloaded(f"{self._pulls} models are being pulled already", retry_after_s=60)
        self._pulls += 1
        try:
            async with aclosing(pull(asked, self._stores[0], self._environment)) as events:
                async for event in events:
                    yield await self._served(event) if isinstance(event, Pulled) else event
        finally:
            self._pulls -= 1

    async def _served(self, pulled: Pulled) -> Pulled:
        """With the models that have come since the catalog was made."""
        file = Path(pulled.file)
        known = self._upstreams()
        for name, upstream in known.items():
            if upstream.model_file == str(file):
                await self._add(engine_model(upstream))
                return msgspec.structs.replace(pulled, model=name)
        if not pulled.model:
            return msgspec.structs.replace(pulled, note="it is no model by itself")
        catalog = with_file(self._directory.catalog, self._config, pulled.model, file)
        if catalog is None:
            taken = f"the name {pulled.model!r} is another model's: name this file in model_registry, and restart"
            return msgspec.structs.replace(pulled, note=taken)
        await self._add(engine_model(engines_of(catalog)[pulled.model]))
        self._directory.catalog = catalog
        return pulled

    async def _add(self, model: EngineModel) -> None:
        (await self._supervisor()).add(model)

    async def _supervisor(self) -> Supervisor:
        if isinstance(self._engines, NoEngines):
            begun = await self._engines.begun()
            if begun is None:
                raise Overloaded("the gateway is ending")
            return begun
        return self._engines

    def _upstreams(self) -> dict[str, Upstream]:
        return engines_of(self._directory.catalog)

    def _model(self, name: str) -> EngineModel:
        upstreams = self._upstreams()
        if name not in upstreams:
            there_is = ", ".join(upstreams) or "none"
            raise UnknownModel(f"no model of this board is named {name!r}; there is: {there_is}", param="model")
        return engine_model(upstreams[name])

    def _removable(self, model: EngineModel) -> list[Path]:
        try:
            files = store.removable(model.file, self._stores)
        except ValueError as error:
            raise InvalidRequest(f"{model.name!r} cannot be removed: {error}") from error
        others = {
            part
            for name, upstream in self._upstreams().items()
            if name != model.name and upstream.model_file
            for part in store.parts(Path(upstream.model_file))
        }
        if shared := others.intersection(files):
            raise InvalidRequest(f"{min(shared)} is another model's as well")
        return files
