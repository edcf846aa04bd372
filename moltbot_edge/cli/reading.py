"""A configuration read against what this machine has: its plug-ins and its model files. For `serve` and `check`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from moltbot_edge.config.known import Known, known, plugins
from moltbot_edge.config.load import Reading, model_stores, read
from moltbot_edge.config.schema import Config
from moltbot_edge.kernel.registry import Registry
from moltbot_edge.local.store import found_models


def read_here(path: Path | None, settings: Mapping[str, str] | None = None) -> tuple[Reading, Registry]:
    """*settings* come from the command line, by path. The registry has the plug-ins that the configuration names."""
    registry = Registry()

    def names(config: Config) -> Known:
        nonlocal registry
        registry, problems = plugins(config)
        return known(registry, found_models(model_stores(config, path)), problems)

    return read(path, os.environ, settings=settings, known=names), registry
