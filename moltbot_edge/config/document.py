"""A YAML file read into a `tree`. Not what its values mean: that is `decode`'s.

PyYAML's ``compose`` keeps the marks that ``safe_load`` throws away. Only the pure-Python loader: the C one
cannot be linked into a static binary. Nothing is constructed but text, numbers, true, false and null.
"""

from __future__ import annotations

from typing import Final

import yaml
from yaml.constructor import SafeConstructor

from moltbot_edge.config.problem import Path, Place, Problem, problem
from moltbot_edge.config.tree import Entry, Items, Node, Plain, Scalar, Table

MAX_BYTES: Final = 1024 * 1024  # a thousand models with comments; PyYAML reads about 200 KB in a second
MAX_VALUES: Final = 20_000  # aliases are written out, so a few lines could otherwise stand for any number
MAX_DEPTH: Final = 32

_TAG: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset(
    _TAG + name for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "value")
)
_TOO_DEEP: Final = "values stand inside each other too deep to be read"


def parse(text: bytes, source: str) -> tuple[Table, list[Problem]]:
    """The tree and what no tree can show: bad syntax, names given twice. An empty file is an empty table."""
    whole = Place(source, 1)
    empty = Table({}, whole)
    if len(text) > MAX_BYTES:
        return empty, [problem((), whole, f"expected at most {MAX_BYTES} bytes, found more")]
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        return empty, [_syntax(error, text, source)]
    except yaml.reader.ReaderError as error:
        # The position counts bytes where the bytes were not UTF-8, else characters.
        line = text[: error.position].count(b"\n") + 1
        return empty, [problem((), Place(source, line), f"expected UTF-8 text: {error.reason}")]
    except RecursionError:
        return empty, [problem((), whole, _TOO_DEEP)]
    if root is None:
        return empty, []
    reading = _Reading(source)
    try:
        tree = reading.node(root, ())
    except _TooMuch as error:
        return empty, [*reading.problems, problem((), whole, str(error))]
    except RecursionError:  # `&name` around its own `<<: *name`
        return empty, [*reading.problems, problem((), whole, _TOO_DEEP)]
    match tree:
        case Table():
            return tree, reading.problems
        case Scalar(value=None):
            return empty, reading.problems
        case _:
            message = "expected sections such as `server:` and `model_registry:` at the top of the file"
            return empty, [*reading.problems, problem((), tree.place, message)]


class _TooMuch(Exception):
    pass


class _Reading:
    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.values = 0
        self.scalars = SafeConstructor()

    def node(self, node: yaml.Node, path: Path) -> Node:
        self.count(path)
        place = self.place(node)
        if node.tag not in _TAGS:
            self.problems.append(problem(path, place, f"tags such as {node.tag} are not read"))
        match node:
            case yaml.MappingNode():
                return Table(self.entries(node, path), place)
            case yaml.SequenceNode():
                return Items(tuple(self.node(item, (*path, i)) for i, item in enumerate(node.value)), place)
            case yaml.ScalarNode():
                return Scalar(node.value, self.plain(node), place, quoted=node.style is not None)
        raise AssertionError(node)

    def count(self, path: Path) -> None:
        self.values += 1
        if self.values > MAX_VALUES or len(path) > MAX_DEPTH:
            raise _TooMuch(f"expected at most {MAX_VALUES} values, {MAX_DEPTH} deep, with every *alias written out")

    def entries(self, node: yaml.MappingNode, path: Path) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in node.value:
            place = self.place(key)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append(problem(path, place, "expected a name before the colon, found a list or section"))
            elif key.tag == _TAG + "merge":
                merged = {**self.merge(value, path), **merged}
            elif key.value in entries:
                first = entries[key.value].place.line
                self.problems.append(problem((*path, key.value), place, f"given twice; first on line {first}"))
            else:
                entries[key.value] = Entry(self.node(value, (*path, key.value)), place)
        return {**merged, **entries}

    def merge(self, node: yaml.Node, path: Path) -> dict[str, Entry]:
        """What ``<<: *name`` brings; of several the first counts, as the merge key's specification has it."""
        self.count(path)
        match node:
            case yaml.MappingNode():
                return self.entries(node, path)
            case yaml.SequenceNode():
                found: dict[str, Entry] = {}
                for item in node.value:
                    found = {**self.merge(item, path), **found}
                return found
            case _:
                self.problems.append(problem(path, self.place(node), "expected a section such as *name after `<<:`"))
                return {}

    def plain(self, node: yaml.ScalarNode) -> Plain:
        try:
            match node.tag.removeprefix(_TAG):
                case "null":
                    return None
                case "bool":
                    return bool(self.scalars.construct_yaml_bool(node))
                case "int":
                    return int(self.scalars.construct_yaml_int(node))
                case "float":
                    return float(self.scalars.construct_yaml_float(node))
        except (ValueError, LookupError):  # `0x_` looks like a number and is none; so does `!!bool maybe`
            pass
        return str(node.value)

    def place(self, node: yaml.Node) -> Place:
        return Place(self.source, node.start_mark.line + 1)


def _syntax(error: yaml.MarkedYAMLError, text: bytes, source: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = text.split(b"\n")[mark.line] if mark and mark.line <= text.count(b"\n") else b""
    words = ", ".join(filter(None, (error.context, error.problem)))
    if b"${" in line:
        words += '; between { } or [ ] a reference needs quotes: "${NAME}"'
    elif "'\\t'" in words:
        words += "; YAML is indented with spaces"
    elif "mapping values are not allowed" in words:
        words += "; a text with a colon and a space in it needs quotes"
    return problem((), Place(source, mark.line + 1 if mark else None), f"not YAML: {words}")
