"""What a type expects and what a value is, in words for whoever wrote the file. No decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec.inspect as mi

from moltbot_edge.config.leaf import leaf, unquoted
from moltbot_edge.config.problem import did_you_mean
from moltbot_edge.config.tree import Items, Node, Scalar, Table

Extra = Mapping[str, Any]  # a field's ``Meta(extra=...)``, see `schema`


def mismatch(kind: mi.Type, node: Node, extra: Extra) -> str:
    """``expected a whole number from 1 to 10, found 'three'``"""
    hint = _hint(kind, node) if isinstance(node, Scalar) else ""
    return f"expected {_expected(kind, extra)}, found {_found(node, extra)}{hint}"


def default_words(default: object) -> str:
    match default:
        case bool():
            return f" (default: {str(default).lower()})"
        case float():
            return f" (default: {default:g})"
        case str() | int():
            return f" (default: {default})"
    return ""


def _expected(kind: mi.Type, extra: Extra) -> str:
    if "expected" in extra:
        return str(extra["expected"])
    match kind:
        case mi.Metadata():
            return _expected(kind.type, {**extra, **(kind.extra or {})})
        case mi.UnionType(types=types):
            return " or ".join(_expected(one, extra) for one in types if not isinstance(one, mi.NoneType))
        case mi.StructType(fields=fields):
            return f"a section with {_listed(field.encode_name for field in fields)}"
        case mi.DictType():
            return "a section of names"
        case mi.ListType():
            return "a list"
        case mi.LiteralType(values=values):
            return f"one of {_listed(map(str, values))}"
        case mi.BoolType():
            return "true or false"
        case mi.IntType():
            return "a whole number" + _range(kind)
        case mi.FloatType():
            return "a number" + _range(kind)
        case mi.StrType(min_length=length):
            return "text that is not empty" if length else "text"
    raise AssertionError(f"the schema has a {kind} now: say what it expects")


def _range(kind: mi.IntType | mi.FloatType) -> str:
    match kind.ge, kind.gt, kind.le:
        case None, None, None:
            return ""
        case low, None, None:
            return f", {low} or more"
        case None, low, None:
            return f" above {low}"
        case low, _, high:
            return f" from {low} to {high}"


def _found(node: Node, extra: Extra) -> str:
    match node:
        case Table():
            return "a section"
        case Items():
            return "a list"
        case Scalar(value=None):
            return "nothing"
        case Scalar() if extra.get("holds") == "secret":
            return "a value that is not shown"
        case Scalar(value=str(value), text=text) if value != text:  # a variable's value may be a secret
            return f"{text!r}, whose value is not that"
        case Scalar(value=str(), text=text):
            return repr(text)
        case Scalar(value=bool(), text=text):
            return f"{text}, which YAML reads as true or false"
        case Scalar(text=text):
            return text


def _hint(kind: mi.Type, node: Scalar) -> str:
    match kind:
        case mi.LiteralType(values=values):
            return did_you_mean(node.text, map(str, values))
        case mi.StrType() if not isinstance(node.value, str | None):
            return ": put it in quotes"
        case mi.IntType() | mi.FloatType() | mi.BoolType() if node.quoted and leaf(kind, unquoted(node)) is not None:
            return ": leave out the quotes"
    return ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
