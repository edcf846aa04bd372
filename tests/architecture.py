"""The rules of the house as data, and what in a source file breaks them. Read, never run: `test_layers` asks.

Every problem is ``line: what is wrong; what to do``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import NamedTuple

PACKAGE = "moltbot_edge"

# Left never imports right, and neighbours do not import each other.
LAYERS = (
    ("_native", "_contents"),  # stubs here: made by the build of the one-file binary
    ("core", "binary"),
    ("network",),
    ("kernel", "metrics", "http_client"),
    ("config", "api"),
    ("dialects", "policies", "stores", "tools", "upstream", "local", "importers"),
    ("gateway",),
    ("server",),
    ("assemble",),
    ("ops",),
    ("cli",),
    ("__main__",),
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
DRAWING = " < ".join(" ".join(layer) for layer in LAYERS)

# No I/O, no clock, no randomness: time and chance are arguments.
PURE = (
    "core",
    "api",
    "kernel.marks",
    "config.schema",
    "dialects",
    "policies",
    "local.gguf",
    "local.kv",
    "local.lifecycle",
    "local.placement",
    "local.profile",
    "local.slots",
)
PURE_IMPORTS = (
    *("__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "copy", "dataclasses"),
    *("decimal", "difflib", "enum", "fractions", "functools", "hashlib", "heapq", "html", "itertools", "json"),
    *("keyword", "math", "operator", "re", "statistics", "string", "struct", "textwrap", "types", "typing"),
    *("unicodedata", "urllib.parse", "msgspec"),
    "mmap",  # without a descriptor, which only others can open, it reaches nothing
)
# `hash` of a text differs from process to process.
IMPURE_BUILTINS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint", "hash"}


class Ban(NamedTuple):
    what: str
    except_in: tuple[str, ...]
    instead: str


NO_CODE_IN_DATA = "store bytes made by msgspec: a pickle runs whatever its writer wished"
ENVIRONMENT = "take the value as an argument; config/load.py reads the environment, and cli/ hands it over"
NO_HIDDEN_CACHE = "hold the cache in an object that somebody owns and bounds"
BANS = (
    *(Ban(name, (), NO_CODE_IN_DATA) for name in ("pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle")),
    Ban("starlette.middleware.base", (), "write pure ASGI middleware: BaseHTTPMiddleware hides a caller that leaves"),
    Ban("time.sleep", (), "await asyncio.sleep: this one holds up every caller"),
    Ban("httpx", ("http_client",), "go through http_client.py, or upstream/wire.py on the chat path"),
    *(Ban(f"os.{name}", ("config.load", "cli", "__main__"), ENVIRONMENT) for name in ("environ", "environb")),
    *(Ban(f"os.{name}", ("config.load", "cli", "__main__"), ENVIRONMENT) for name in ("getenv", "putenv", "unsetenv")),
    *(Ban(f"functools.{name}", (), NO_HIDDEN_CACHE) for name in ("cache", "lru_cache")),
)

# What a module's name may be bound to although it is a call: its result does not change.
STATELESS = {
    *("logging.getLogger", "re.compile", "msgspec.json.Decoder", "msgspec.json.Encoder", "struct.Struct"),
    *("msgspec.msgpack.Decoder", "msgspec.msgpack.Encoder"),
    *("typing.TypeVar", "typing.ParamSpec", "typing.NewType", "typing.NamedTuple", "types.MappingProxyType"),
    *("operator.attrgetter", "operator.itemgetter", "operator.methodcaller", "frozenset", "tuple", "str.maketrans"),
}
# What is never data, whatever the case of its name.
ALIVE = ("asyncio", "threading", "queue", "weakref", "socket", "io", "contextvars", "itertools", "subprocess", "random")
GROWING = {f"collections.{name}" for name in ("deque", "defaultdict", "Counter", "OrderedDict", "ChainMap")}
CHANGES = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove", "discard", "clear"}
DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
OWNED = "make it where the parts are joined (assemble.py), and hand it to who needs it"


class Import(NamedTuple):
    line: int
    path: str  # dotted, down to the imported name
    runs: bool  # False below `if TYPE_CHECKING`


class Module:
    """One source file; *name* is dotted, below the package: ``upstream.wire``, and empty for the package itself."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.part = name.partition(".")[0]
        self.tree = ast.parse(source)
        self.imports = list(_imports(name, self.tree, runs=True))
        self.meaning = {}  # a name in this file -> what was imported under it
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    local = alias.asname or alias.name.partition(".")[0]
                    self.meaning[local] = alias.name if alias.asname else local
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    self.meaning[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def dotted(self, node: ast.expr) -> str | None:
        """``t.sleep`` after ``import time as t`` is ``time.sleep``."""
        if isinstance(node, ast.Name):
            return self.meaning.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            before = self.dotted(node.value)
            return before and f"{before}.{node.attr}"
        return None


def _imports(name: str, tree: ast.AST, runs: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(node.lineno, alias.name, runs)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = [PACKAGE, *name.split(".")][:-level] if level else []
                path = ".".join([*above, *([module] if module else [])])
                for alias in names:
                    yield Import(node.lineno, f"{path}.{alias.name}", runs)
            case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=orelse):
                for child in node.body:
                    yield from _imports(name, ast.Module([child], []), runs=False)
                yield from _imports(name, ast.Module(orelse, []), runs)
            case _:
                yield from _imports(name, node, runs)


def under(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root + ".") for root in roots)


def wrong_layers(module: Module) -> Iterator[str]:
    if not module.part:
        return
    if module.part not in RANK:
        yield f"1: {module.part} has no place among the layers; give it one in LAYERS ({DRAWING})"
        return
    for line, path, _ in module.imports:
        package, _, below = path.partition(".")
        part = below.partition(".")[0]
        if package != PACKAGE or part in (module.part, "__version__"):
            continue
        if part not in RANK:
            yield f"{line}: imports {path}, which has no place among the layers ({DRAWING})"
        elif RANK[part] == RANK[module.part]:
            yield f"{line}: imports its neighbour {part}; move what both need to the left, or join them further right"
        elif RANK[part] > RANK[module.part]:
            yield f"{line}: imports {part}, which is to its right ({DRAWING}); take it as an argument"


def impurities(module: Module) -> Iterator[str]:
    if not under(module.name, PURE):
        return
    for line, path, runs in module.imports:
        package, _, below = path.partition(".")
        if package == PACKAGE:
            if not under(below, PURE):
                yield f"{line}: a pure part imports only pure parts, and {path} is none (PURE)"
        elif runs and not under(path, PURE_IMPORTS):
            yield f"{line}: a pure part imports {path}; move what needs it to the caller, or add it to PURE_IMPORTS"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS:
            yield f"{node.lineno}: a pure part calls {node.func.id}(); return what is to be done, the caller does it"


def banned(module: Module) -> Iterator[str]:
    used = {(line, path) for line, path, _ in module.imports}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and (path := module.dotted(node)):
            used.add((node.lineno, path))
    for line, path in sorted(used):
        for ban in BANS:
            if under(path, (ban.what,)) and not under(module.name, ban.except_in):
                yield f"{line}: uses {ban.what}; {ban.instead}"


def state(module: Module) -> Iterator[str]:
    tables = set()
    for statement in _top(module.tree.body):
        final = isinstance(statement, ast.AnnAssign) and "Final" in ast.unparse(statement.annotation)
        for name, value in _bound(statement):
            constant = final or name.isupper()
            if name.startswith("__"):
                continue
            if constant:
                tables.add(name)
            if problem := _alive(module, value, constant):
                yield f"{statement.lineno}: {name} is {problem}; {OWNED}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Global):
            yield f"{node.lineno}: `global {', '.join(node.names)}` is state of the module; {OWNED}"
        elif isinstance(node, (ast.stmt, ast.expr)) and (changed := _changed(node) & tables):
            yield f"{node.lineno}: changes {', '.join(changed)}, which is data; {OWNED}"


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Every statement that runs on import, those within ``if`` and ``try`` too."""
    for statement in body:
        yield statement
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for block in ("body", "orelse", "finalbody"):
                yield from _top(getattr(statement, block, []))
            for handler in getattr(statement, "handlers", []):
                yield from _top(handler.body)


def _bound(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        targets, value = node.targets, node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets, value = [node.target], node.value
    else:
        return
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, value


def _alive(module: Module, value: ast.expr, constant: bool) -> str | None:
    """Why *value* is no constant."""
    if isinstance(value, DISPLAYS):
        if not getattr(value, "elts", getattr(value, "keys", True)):
            return "empty and so waits to be filled"
        return None if constant else "changeable; data is UPPER_CASE"
    while isinstance(value, ast.Attribute):  # a method of what is made here
        value = value.value
    if not isinstance(value, ast.Call):
        return None
    made = module.dotted(value.func) or "something"
    if under(made, ALIVE) or made in GROWING:
        return f"made by {made}, which changes"
    if made in ("dict", "list", "set", "bytearray") and not (value.args or value.keywords):
        return "empty and so waits to be filled"
    return None if constant or made in STATELESS else f"made by {made}, which may change (if not: UPPER_CASE)"


def _changed(node: ast.AST) -> set[str]:
    """The names whose contents *node* changes."""
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            places = targets
        case ast.AugAssign(target=target):
            places = [target]
        case ast.Call(func=ast.Attribute(value=ast.Name(name), attr=method)) if method in CHANGES:
            return {name}
        case _:
            return set()
    return {
        place.value.id for place in places if isinstance(place, ast.Subscript) and isinstance(place.value, ast.Name)
    }


def unsaid(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield "1: begins without saying what it is, what it is not, and where the knowledge comes from"


Check = Callable[[Module], Iterator[str]]
CHECKS: tuple[Check, ...] = (wrong_layers, impurities, banned, state, unsaid)
