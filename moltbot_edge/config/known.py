"""Names that the file may use and the schema cannot know: of plug-ins, and of models that nobody wrote down."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from moltbot_edge.kernel.registry import PluginError, Registry, WrongOptions


class Known(msgspec.Struct, frozen=True):
    """None means that nobody asked: then such names are not checked.

    *objection* says what is wrong with a policy's options: the option's path, where there is one, and a message.
    """

    policies: Collection[str] | None = None
    dialects: Collection[str] | None = None
    models: Mapping[str, Path] = {}
    objection: Callable[[str, Mapping[str, Any]], tuple[str, str] | None] | None = None


def known(registry: Registry, models: Mapping[str, Path] = MappingProxyType({})) -> Known:
    """*models* are the files found in the model stores, by the names under which they would be served.

    A policy's options are tried on the policy itself, which imports the policies that the file names and no other.
    """

    def objection(policy: str, options: Mapping[str, Any]) -> tuple[str, str] | None:
        try:
            registry.build("policy", policy, options)
        except WrongOptions as error:
            return error.option or "", str(error)
        except PluginError as error:
            return "", str(error)
        return None

    return Known(registry.names("policy"), registry.names("dialect"), models, objection)
