"""What ``check --probe`` prints: each endpoint of a configuration, asked what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from moltbot_edge.assemble import found_out
from moltbot_edge.config.schema import Config
from moltbot_edge.core.catalog import WILD, Upstream
from moltbot_edge.core.errors import GatewayError
from moltbot_edge.kernel.registry import Registry
from moltbot_edge.upstream.kinds import Found, FoundModel

SHOWN = 20  # names of models in a line


class Probed(msgspec.Struct, frozen=True):
    """*wanted* are the models that the configuration has of it. *error*: it did not say what it is."""

    upstream: Upstream
    wanted: Sequence[str]
    found: Found | None = None
    error: str | None = None

    def as_object(self) -> dict[str, Any]:
        if self.found is None:
            return {"endpoint": self.upstream.name, "error": self.error}
        return {
            "endpoint": self.upstream.name,
            "kind": self.found.kind,
            "version": self.found.version,
            "dialect": self.found.dialect,
            "models": msgspec.to_builtins(self.found.models),
            "missing": self._missing(),
        }

    def as_text(self) -> str:
        found = self.found
        if found is None:
            return self.error or ""
        version = f" {found.version}" if found.version else ""
        lines = [f"{self.upstream.name}: {found.kind}{version}, asked as {found.dialect}"]
        known = {name: found.model(name) for name in self.wanted if WILD not in name}
        lines += [f"  {name}: {_described(model)}" for name, model in known.items() if model is not None]
        lines += [f"  {name}: it is not there" for name in self._missing()]
        names = [one.name for one in found.models]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"  models: {', '.join(names[:SHOWN]) or 'it lists none'}{more}")
        return "\n".join(lines)

    def _missing(self) -> list[str]:
        found = self.found
        if found is None or not found.models:
            return []
        return [name for name in self.wanted if WILD not in name and found.model(name) is None]


def probed(config: Config, registry: Registry, environment: Mapping[str, str]) -> list[Probed]:
    told = asyncio.run(found_out(config, registry, environment))
    return [
        Probed(upstream, wanted, error=said.message)
        if isinstance(said, GatewayError)
        else Probed(upstream, wanted, said)
        for upstream, wanted, said in told
    ]


def _described(model: FoundModel) -> str:
    can = [word for word, able in (("tools", model.tools), ("images", model.images)) if able]
    cannot = [f"no {word}" for word, able in (("tools", model.tools), ("images", model.images)) if able is False]
    context = f"context {model.context_tokens}" if model.context_tokens is not None else "context not told"
    return ", ".join((context, *can, *cannot))
