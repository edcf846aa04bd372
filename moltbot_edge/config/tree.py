"""Values that know where they stand, before anyone knows what they mean. Free of YAML: no file, no parser in memory."""

from __future__ import annotations

import msgspec

from moltbot_edge.config.problem import Path, Place

Plain = str | int | float | bool | None


class Scalar(msgspec.Struct, frozen=True):
    """*text* as it stands, *value* as YAML reads it. *loose*: text from outside, its type not yet known."""

    text: str
    value: Plain
    place: Place
    quoted: bool = False
    loose: bool = False


class Items(msgspec.Struct, frozen=True):
    nodes: tuple[Node, ...]
    place: Place


class Entry(msgspec.Struct, frozen=True):
    node: Node
    place: Place  # of the name


class Table(msgspec.Struct, frozen=True):
    entries: dict[str, Entry]
    place: Place


Node = Scalar | Items | Table


def outside(text: str, source: str) -> Scalar:
    """A value from the environment or the command line: it may stand for a number as well as for text."""
    return Scalar(text, text, Place(source), loose=True)


def with_value(table: Table, path: Path, value: Scalar) -> Table:
    """*value* in place of whatever stood at *path*. A list or a text on the way stays: it is a problem already."""
    name, rest = str(path[0]), path[1:]
    found = table.entries.get(name)
    if not rest:
        return Table({**table.entries, name: Entry(value, value.place)}, table.place)
    match found.node if found is not None else None:
        case Table() as inner:
            below: Node = with_value(inner, rest, value)
        case None | Scalar(value=None):
            below = with_value(Table({}, value.place), rest, value)
        case other:
            below = other
    return Table({**table.entries, name: Entry(below, found.place if found else value.place)}, table.place)
