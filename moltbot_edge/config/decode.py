"""A tree of values -> `schema.Config`, along the types. Everything wrong at once, not the first only.

msgspec stops at the first error; its description of the types (`msgspec.inspect`) is what is walked here instead.
A value at fault is replaced by its field's default, and its path kept, so that `check` can go on without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

import msgspec
import msgspec.inspect as mi
from msgspec import NODEFAULT

from moltbot_edge.config.leaf import Leaf, guess, leaf
from moltbot_edge.config.problem import Path, Place, Problem, nearest, problem
from moltbot_edge.config.references import Unresolved, expand, located, refers, secret
from moltbot_edge.config.schema import Config
from moltbot_edge.config.tree import Entry, Items, Node, Scalar, Table
from moltbot_edge.config.wording import Extra, default_words, mismatch


class Decoded(msgspec.Struct, frozen=True):
    """*places* says where each value stands; *broken* holds the paths whose values in *config* are stand-ins."""

    config: Config
    problems: list[Problem]
    places: Mapping[Path, Place]
    broken: frozenset[Path]

    def sound(self, *path: str | int) -> bool:
        """Is this value, with all that it stands in, what the configuration says?"""
        return not any(path[:end] in self.broken for end in range(len(path) + 1))

    def place(self, path: Path) -> Place:
        """Where *path* stands, or what it would stand in."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


def decode(tree: Table, environment: Mapping[str, str], folder: FilePath) -> Decoded:
    """*folder* is where relative paths begin."""
    walk = _Walk(environment, folder)
    walk.places[()] = tree.place
    config: Config = walk.struct(_config_type(), tree, ())
    return Decoded(config, walk.problems, walk.places, frozenset(walk.broken))


def scalar_paths() -> list[Path]:
    """Every field that holds one text, number or choice and is in no list: what the environment may set."""
    return list(_scalars(_config_type(), ()))


def _scalars(kind: mi.Type, path: Path) -> Iterator[Path]:
    match _bare(kind):
        case mi.UnionType(types=(one, mi.NoneType())):
            yield from _scalars(one, path)
        case mi.StructType(fields=fields):
            for field in fields:
                yield from _scalars(field.type, (*path, field.encode_name))
        case mi.StrType() | mi.IntType() | mi.FloatType() | mi.BoolType() | mi.LiteralType():
            yield path


def _config_type() -> mi.StructType:
    kind = mi.type_info(Config)
    assert isinstance(kind, mi.StructType)
    return kind


class _Wrong(Exception):
    """What is wrong with one value, in words."""


class _Walk:
    def __init__(self, environment: Mapping[str, str], folder: FilePath) -> None:
        self.environment = environment
        self.folder = folder
        self.problems: list[Problem] = []
        self.places: dict[Path, Place] = {}
        self.broken: set[Path] = set()

    def named(self, kind: mi.Type, entry: Entry, path: Path, default: object = NODEFAULT) -> Any:
        """A section begins where its name stands."""
        return self.value(kind, entry.node, path, entry.place, default)

    def value(self, kind: mi.Type, node: Node, path: Path, place: Place, default: object = NODEFAULT) -> Any:
        """What *node* stands for; where it is wrong the default, or something of the right shape."""
        self.places[path] = place
        try:
            return self.convert(kind, node, path, {})
        except _Wrong as wrong:
            self.problems.append(problem(path, place, str(wrong) + default_words(default)))
            self.broken.add(path)
            return _stand_in(kind) if default is NODEFAULT else default

    def convert(self, kind: mi.Type, node: Node, path: Path, extra: Extra) -> Any:
        match kind, node:
            case mi.Metadata(), _:
                return self.convert(kind.type, node, path, {**extra, **(kind.extra or {})})
            case mi.UnionType(types=types), _:
                member = next((one for one in types if _same_shape(one, node)), None)
                if member is not None:
                    return self.convert(member, node, path, extra)
            case mi.AnyType(), _:
                return self.anything(node, path)
            case mi.StructType(), Table():
                return self.struct(kind, node, path)
            case mi.DictType(value_type=inner), Table(entries=entries):
                return {name: self.named(inner, entry, (*path, name)) for name, entry in entries.items()}
            case mi.ListType(item_type=inner, min_length=least), Items(nodes=nodes):
                if len(nodes) < (least or 0):
                    raise _Wrong(f"expected at least {least} in the list, found {len(nodes)}")
                return [self.value(inner, item, (*path, index), item.place) for index, item in enumerate(nodes)]
            case mi.NoneType(), Scalar(value=None):
                return None
            case mi.StrType() | mi.IntType() | mi.FloatType() | mi.BoolType() | mi.LiteralType(), Scalar():
                return self.scalar(kind, node, extra)
        raise _Wrong(mismatch(kind, node, extra))

    def struct(self, kind: mi.StructType, table: Table, path: Path) -> Any:
        fields = {field.encode_name: field for field in kind.fields}
        values: dict[str, Any] = {}
        for name, entry in self.fields_of(kind, table, path).items():
            default = _default(fields[name])
            if default is NODEFAULT or not self.says_nothing(fields[name].type, entry.node):
                values[name] = self.named(fields[name].type, entry, (*path, name), default)
        for name, field in fields.items():
            if field.required and name not in values:
                self.problems.append(problem(path, self.places[path], f"the field `{name}` is missing"))
                self.broken.add((*path, name))
                values[name] = _stand_in(field.type)
        return kind.cls(**values)

    def fields_of(self, kind: mi.StructType, table: Table, path: Path) -> dict[str, Entry]:
        """The entries that are fields. A slip of the pen counts as the field that was meant, and so as one problem."""
        fields = {field.encode_name: field.type for field in kind.fields}
        found = {name: entry for name, entry in table.entries.items() if name in fields}
        if not kind.forbid_unknown_fields:
            return found
        for name, entry in table.entries.items():
            if name in fields:
                continue
            missing = {field: type for field, type in fields.items() if field not in table.entries}
            meant = nearest(name, [field for field, type in missing.items() if _same_shape(type, entry.node)])
            hint = meant or nearest(name, missing)
            words = f"did you mean `{hint}`?" if hint else f"there are: {', '.join(fields)}"
            self.problems.append(problem((*path, name), entry.place, f"unknown field; {words}"))
            if meant is not None:
                found.setdefault(meant, entry)
        return found

    def says_nothing(self, kind: mi.Type, node: Node) -> bool:
        """A section whose lines are all comments, or a reference to variables that are there and empty."""
        match node:
            case Scalar(value=None):
                return isinstance(_bare(kind), mi.StructType | mi.ListType | mi.DictType)
            case Scalar(value=str(text), loose=False) if refers(text):
                try:
                    return not expand(text, self.environment)
                except Unresolved:
                    return False
        return False

    def scalar(self, kind: Leaf, node: Scalar, extra: Extra) -> Any:
        node = self.resolved(node, extra)
        value = leaf(kind, node)
        if value is None:
            raise _Wrong(mismatch(kind, node, extra))
        return value

    def anything(self, node: Node, path: Path) -> Any:
        """For a field whose meaning a plug-in knows: what YAML makes of it."""
        match node:
            case Table(entries=entries):
                return {name: self.named(mi.AnyType(), entry, (*path, name)) for name, entry in entries.items()}
            case Items(nodes=nodes):
                return [self.value(mi.AnyType(), item, (*path, index), item.place) for index, item in enumerate(nodes)]
            case Scalar():
                found = self.resolved(node, {})
                return guess(found) if found.loose and not found.quoted else found.value

    def resolved(self, node: Scalar, extra: Extra) -> Scalar:
        """Its references replaced; a secret read from its file; a relative path made absolute."""
        if not isinstance(node.value, str):
            return node
        text, loose = node.value, node.loose
        try:
            if refers(text) and not loose:  # what a variable holds is not looked into
                text, loose = expand(text, self.environment), True
            match extra.get("holds"):
                case "secret" if text.startswith("file:"):
                    text = secret(located(text.removeprefix("file:"), self.folder, self.environment))
                case "path" if text:
                    text = str(located(text, self.folder, self.environment))
                case "program" if "/" in text:
                    text = str(located(text, self.folder, self.environment))
        except Unresolved as error:
            raise _Wrong(str(error)) from error
        return msgspec.structs.replace(node, value=text, loose=loose)


def _default(field: mi.Field) -> object:
    if field.default_factory is not NODEFAULT:
        return field.default_factory()
    return field.default


def _stand_in(kind: mi.Type) -> Any:
    """Something of the right shape for a field that has no default."""
    match _bare(kind):
        case mi.StructType(cls=cls, fields=fields):
            return cls(**{field.name: _stand_in(field.type) for field in fields if field.required})
        case mi.ListType():
            return []
        case mi.DictType():
            return {}
        case mi.UnionType(types=types):
            return _stand_in(types[0])
        case mi.StrType():
            return ""
    return None


def _same_shape(kind: mi.Type, node: Node) -> bool:
    match _bare(kind), node:
        case mi.UnionType(types=types), _:
            return any(_same_shape(one, node) for one in types)
        case mi.StructType() | mi.DictType(), Table():
            return True
        case mi.ListType(), Items():
            return True
        case mi.NoneType(), Scalar(value=None):
            return True
        case mi.StrType() | mi.IntType() | mi.FloatType() | mi.BoolType() | mi.LiteralType(), Scalar(value=value):
            return value is not None
    return False


def _bare(kind: mi.Type) -> mi.Type:
    while isinstance(kind, mi.Metadata):
        kind = kind.type
    return kind
