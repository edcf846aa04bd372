"""What the source of a module imports, read from its syntax tree; nothing is run.

Not the standard library's modulefinder: that one reads bytecode, cannot tell an import at start from one inside a
function, and follows ``if TYPE_CHECKING``. Names made at run time are not seen; `contents.toml` has to say those.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


class Imports(NamedTuple):
    """*at_start* are carried out when the module is imported, *later* when a function of it runs."""

    at_start: frozenset[str]
    later: frozenset[str]


def imports_of(source: bytes, name: str, *, is_package: bool) -> Imports:
    """Dotted names as far as the syntax tells: ``from a import b`` gives both ``a`` and ``a.b``, module or not."""
    package = name if is_package else name.rpartition(".")[0]
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for node, at_start in _walk(ast.parse(source).body, at_start=True):
        found[at_start].update(_names(node, package))
    return Imports(frozenset(found[True]), frozenset(found[False]))


def closure(roots: Iterable[str], edges: Callable[[str], Iterable[str] | None]) -> list[str]:
    """*roots* and everything that is reached from them, in the order in which it would be imported.

    Parents of a module come before it. A name for which *edges* gives None is left out. It is asked once for each.
    """
    order: dict[str, None] = {}
    # Not recursive: the chain through the standard library is longer than a careful recursion limit.
    stack = [(root, False) for root in reversed(list(roots))]
    entered: set[str] = set()
    while stack:
        name, done = stack.pop()
        if done:
            order[name] = None
            continue
        if name in entered:
            continue
        entered.add(name)
        wanted = edges(name)
        if wanted is None:
            continue
        stack.append((name, True))
        stack.extend((one, False) for one in sorted(wanted, reverse=True))
        parent = name.rpartition(".")[0]
        if parent:
            stack.append((parent, False))
    return list(order)


def _walk(statements: Iterable[ast.stmt], *, at_start: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for statement in statements:
        match statement:
            case ast.Import() | ast.ImportFrom():
                yield statement, at_start
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _walk(statement.body, at_start=False)
            case ast.If(test=test) if _never_here(test):
                yield from _walk(statement.orelse, at_start=at_start)
            case ast.Match(cases=cases):
                for case in cases:
                    yield from _walk(case.body, at_start=at_start)
            case _:
                for field in ("body", "handlers", "orelse", "finalbody"):
                    yield from _walk(_statements(getattr(statement, field, ())), at_start=at_start)


def _statements(parts: Iterable[ast.stmt | ast.ExceptHandler]) -> Iterator[ast.stmt]:
    for part in parts:
        if isinstance(part, ast.ExceptHandler):
            yield from part.body
        else:
            yield part


def _never_here(test: ast.expr) -> bool:
    """A condition that is false in the executable: for type checkers, for a script, for another system."""
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[ast.Constant(value=value)]):
            return (ast.unparse(left), value) in {
                ("__name__", "__main__"),
                ("sys.platform", "win32"),
                ("os.name", "nt"),
                ("sys.platform", "darwin"),
            }
        case _:
            return False


def _names(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name
        return
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, base] if base else above)
    yield base
    for alias in node.names:
        if alias.name != "*":
            yield f"{base}.{alias.name}"
