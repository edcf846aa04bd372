"""Plug-ins by kind and name. Not where they are found: that is `discover`; not when one is chosen: that is the config.

Built-ins come in by the same door as a user's file. They are a table of module paths, and a module is imported
when its name is asked for, so what the config does not name costs no memory. A frozen binary does not see these
imports: its recipe has to name the modules of `BUILTINS`.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

import msgspec

from moltbot_edge import binary
from moltbot_edge.core.dialect import Dialect
from moltbot_edge.core.routing import Policy
from moltbot_edge.kernel.marks import mark_of

log = logging.getLogger(__name__)

# Each kind, and what an object of it has to be, where its seam is drawn already.
KINDS: Mapping[str, type | None] = {
    "policy": Policy,
    "dialect": Dialect,
    "store": None,  # drawn in core.store, which a gateway without sessions need not read
    "tool": None,
    "importer": None,
}

BUILTINS: Mapping[str, Mapping[str, str]] = {
    "policy": {
        "complexity": "moltbot_edge.policies.complexity",
        "cheapest": "moltbot_edge.policies.cheapest",
        "fastest": "moltbot_edge.policies.fastest",
        "least-busy": "moltbot_edge.policies.least_busy",
        "priority": "moltbot_edge.policies.priority",
        "round-robin": "moltbot_edge.policies.round_robin",
        "sticky": "moltbot_edge.policies.sticky",
        "weighted": "moltbot_edge.policies.weighted",
    },
    "dialect": {
        "anthropic-messages": "moltbot_edge.dialects.anthropic_messages",
        "ollama": "moltbot_edge.dialects.ollama",
        "openai-chat": "moltbot_edge.dialects.openai_chat",
        "openai-responses": "moltbot_edge.dialects.openai_responses",
    },
    "store": {
        "disk": "moltbot_edge.stores.disk",
        "memory": "moltbot_edge.stores.memory",
        "redis": "moltbot_edge.stores.redis",
    },
}

# What a built-in needs beside what every gateway has: the package, which is also the extra's name.
EXTRAS: Mapping[tuple[str, str], str] = {("store", "redis"): "redis"}


class PluginError(Exception):
    """What is wrong with a plug-in, or with what the config says of it; for whoever wrote either."""


class UnknownPlugin(PluginError): ...


class PluginClash(PluginError): ...


class WrongOptions(PluginError):
    """*option* is the path of the one at fault, such as ``local[0]``, where there is one."""

    def __init__(self, message: str, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class Plugin(msgspec.Struct, frozen=True):
    """*target* is the marked function or class; *origin* the file or package that it came from."""

    kind: str
    name: str
    target: Any
    origin: str


def marked_in(module: ModuleType, origin: str) -> list[Plugin]:
    """The marked objects that are *module*'s own, in its order; what it imports from elsewhere is not."""
    own = module.__name__
    found: dict[int, Plugin] = {}
    for target in vars(module).values():
        mark = mark_of(target)
        if mark is not None and (target.__module__ == own or target.__module__.startswith(own + ".")):
            found[id(target)] = Plugin(mark.kind, mark.name, target, origin)
    return list(found.values())


class Registry:
    def __init__(
        self, plugins: Iterable[Plugin] = (), builtins: Mapping[str, Mapping[str, str]] = MappingProxyType(BUILTINS)
    ) -> None:
        """Raises `PluginClash` when two of *plugins* are the same kind and name."""
        self._builtins = builtins
        self._plugins: dict[tuple[str, str], Plugin] = {}
        for plugin in plugins:
            key = plugin.kind, plugin.name
            other = self._plugins.get(key)
            if other is not None:
                raise PluginClash(
                    f"two plug-ins are the {plugin.kind} {plugin.name!r}: {other.origin} and {plugin.origin}; "
                    "rename or remove one"
                )
            self._plugins[key] = plugin
            if plugin.name in builtins.get(plugin.kind, ()):
                log.info("the %s %r of %s replaces the built-in one", plugin.kind, plugin.name, plugin.origin)

    def names(self, kind: str) -> list[str]:
        """Every name of *kind*, sorted."""
        _known_kind(kind)
        own = {name for its_kind, name in self._plugins if its_kind == kind}
        return sorted(own.union(self._builtins.get(kind, ())))

    def plugged(self, kind: str) -> list[str]:
        """The names of *kind* that are not, or no longer, a built-in's."""
        return [name for its_kind, name in self._plugins if its_kind == kind]

    def find(self, kind: str, name: str) -> Plugin:
        """Imports the module of a built-in. Raises `UnknownPlugin`, whose message lists what there is."""
        _known_kind(kind)
        plugin = self._plugins.get((kind, name))
        if plugin is not None:
            return plugin
        path = self._builtins.get(kind, {}).get(name)
        if path is None:
            raise UnknownPlugin(_unknown(f"no {kind} named {name!r}", name, self.names(kind)))
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == __name__.partition(".")[0]:
                raise
            raise PluginError(_needs(kind, name, error.name)) from error
        for plugin in marked_in(module, path):
            if (plugin.kind, plugin.name) == (kind, name):
                return plugin
        raise UnknownPlugin(f"the built-in module {path} marks no {kind} {name!r}")

    def lacking(self, kind: str, name: str) -> str | None:
        """Why a built-in cannot be imported here, without trying: for who asks before it is wanted."""
        package = EXTRAS.get((kind, name))
        if package is None or (kind, name) in self._plugins:
            return None
        from importlib.util import find_spec  # for those who name such a one

        return None if find_spec(package) is not None else _needs(kind, name, package)

    def get(self, kind: str, name: str) -> Any:
        """The marked function or class itself."""
        return self.find(kind, name).target

    def build(self, kind: str, name: str, options: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """A ready object: a function as it is, a class made with *options* as its fields.

        Raises `UnknownPlugin`, `WrongOptions`, and `PluginError` when the object is not what its kind has to be.
        """
        plugin = self.find(kind, name)
        target = plugin.target
        # Found here, at the start, and not at a request.
        if unmade := sorted(getattr(target, "__abstractmethods__", ())):
            raise PluginError(f"{_named(plugin)} is no {kind}: it has no {', '.join(unmade)}")
        if isinstance(target, type) and issubclass(target, msgspec.Struct):
            built: Any = _with_options(plugin, target, options)
        elif options:
            raise WrongOptions(f"{_named(plugin)} takes no options; found: {', '.join(options)}", next(iter(options)))
        else:
            built = target() if isinstance(target, type) else target
        lacking = [member for member in members(kind) if not hasattr(built, member)]
        if lacking:
            raise PluginError(f"{_named(plugin)} is no {kind}: it has no {', '.join(lacking)}")
        return built


def _with_options(plugin: Plugin, target: type[msgspec.Struct], options: Mapping[str, Any]) -> msgspec.Struct:
    fields = {field.encode_name: field for field in msgspec.structs.fields(target)}
    for option in map(str, options):
        if option not in fields:
            raise WrongOptions(_unknown(f"{_named(plugin)} takes no option {option!r}", option, list(fields)), option)
    try:
        return msgspec.convert(options, target)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        takes = "; ".join(_described(field) for field in fields.values())
        option = path.strip(".`")
        where = f"option `{option}`: " if option else ""
        raise WrongOptions(f"{_named(plugin)}: {where}{problem}; it takes: {takes}", option or None) from error


def members(kind: str) -> list[str]:
    """What an object of *kind* has to have."""
    seam = KINDS[kind]
    if seam is None:
        return []
    functions = [name for name, value in vars(seam).items() if callable(value)]
    own = [name for name in functions if name == "__call__" or not name.startswith("_")]
    return [*seam.__annotations__, *own]


def _described(field: msgspec.structs.FieldInfo) -> str:
    kind = field.type.__name__ if type(field.type) is type else str(field.type).replace("typing.", "")
    if field.required:
        return f"{field.encode_name} ({kind}, required)"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"{field.encode_name} ({kind}, {default!r} if not given)"


def _named(plugin: Plugin) -> str:
    return f"the {plugin.kind} {plugin.name!r} ({plugin.origin})"


def _needs(kind: str, name: str, package: str) -> str:
    needed = f"the {kind} {name!r} needs the package {package!r}, which"
    if binary.plugin_modules() is not None:
        return f"{needed} this executable of one file has not: choose another, or run moltbot-edge from its source"
    return f"{needed} is not here: {sys.executable} -m pip install 'moltbot-edge[{name}]'"


def _known_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UnknownPlugin(_unknown(f"no kind of plug-in is called {kind!r}", kind, list(KINDS)))


def _unknown(problem: str, wanted: str, known: list[str]) -> str:
    import difflib  # only a mistake needs it

    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{problem}{hint}; there is: {', '.join(known) or 'none'}"
