"""Names that the file may use and the schema cannot know: of plug-ins, and of models that nobody wrote down."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from moltbot_edge.config.problem import Problem
from moltbot_edge.config.schema import Alias, Config
from moltbot_edge.kernel.discover import Found, in_entry_points, in_folder
from moltbot_edge.kernel.registry import BUILTINS, PluginClash, PluginError, Registry, WrongOptions


class Known(msgspec.Struct, frozen=True):
    """None means that nobody asked: then such names are not checked.

    *objection* says what is wrong with a policy's options for an alias of these models: the option's path, where
    there is one, and a message. *lacking* says what the store of that name needs and this machine has not.
    """

    policies: Collection[str] | None = None
    dialects: Collection[str] | None = None
    stores: Collection[str] | None = None
    lacking: Callable[[str], str | None] | None = None
    models: Mapping[str, Path] = {}
    objection: Callable[[str, Mapping[str, Any], Sequence[str]], tuple[str, str] | None] | None = None
    problems: Sequence[Problem] = ()


def plugins(config: Config) -> tuple[Registry, list[Problem]]:
    """The built-ins, the folder's and the installed ones; and what is wrong with any. Runs the plug-ins' code.

    The installed ones are looked for only where the others lack a name: reading what is installed takes longer
    than everything else at the start.
    """
    found = in_folder(Path(config.plugins.folder)) if config.plugins.folder is not None else Found()
    own = {(one.kind, one.name) for one in found.plugins}
    wanted = {("policy", name) for name in _policies(config)} | {("dialect", name) for name in _dialects(config)}
    wanted.add(("store", config.sessions.store))
    if any(name not in BUILTINS.get(kind, {}) for kind, name in wanted - own):
        found += in_entry_points()
    problems = [Problem("plugins", one.line, one.message, one.origin, warning=True) for one in found.problems]
    try:
        return Registry(found.plugins), problems
    except PluginClash as error:
        return Registry(), [*problems, Problem("plugins", None, str(error))]


def _policies(config: Config) -> set[str]:
    aliases = (alias.policy for alias in config.aliases.values() if isinstance(alias, Alias))
    return {config.router.policy, *(policy for policy in aliases if policy is not None)}


def _dialects(config: Config) -> set[str]:
    return {model.type for model in config.model_registry} - {"auto"}


def known(
    registry: Registry, models: Mapping[str, Path] = MappingProxyType({}), problems: Sequence[Problem] = ()
) -> Known:
    """*models* are the files found in the model stores, by the names under which they would be served.

    A policy's options are tried on the policy itself, which imports the policies that the file names and no other.
    One whose options name models has an `objection` of its own, which is asked.
    """

    def objection(policy: str, options: Mapping[str, Any], of: Sequence[str]) -> tuple[str, str] | None:
        try:
            built = registry.build("policy", policy, options)
        except WrongOptions as error:
            return error.option or "", str(error)
        except PluginError as error:
            return "", str(error)
        found: tuple[str, str] | None = built.objection(of) if of and hasattr(built, "objection") else None
        return found

    return Known(
        policies=registry.names("policy"),
        dialects=registry.names("dialect"),
        stores=registry.names("store"),
        lacking=lambda store: registry.lacking("store", store),
        models=models,
        objection=objection,
        problems=problems,
    )
