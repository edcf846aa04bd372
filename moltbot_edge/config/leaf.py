"""One text, number or choice against its type. What it refers to has been put in its place before."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import msgspec
import msgspec.inspect as mi

from moltbot_edge.config.tree import Plain, Scalar

BOOLEANS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}

Leaf = mi.StrType | mi.IntType | mi.FloatType | mi.BoolType | mi.LiteralType


def leaf(kind: Leaf, node: Scalar) -> str | int | float | bool | None:
    """The value that *kind* wants, or None where *node* holds no such thing."""
    match kind:
        case mi.StrType():
            return node.value if isinstance(node.value, str) and _fits(kind, node.value) else None
        case mi.IntType():
            whole = _whole(node)
            return whole if whole is not None and _within(kind, whole) else None
        case mi.FloatType():
            number = _number(node)
            return number if number is not None and _within(kind, number) else None
        case mi.BoolType():
            return _truth(node)
        case mi.LiteralType(values=values):
            return node.value if node.value in values else None


def guess(node: Scalar) -> Plain:
    """A text from outside, for a field that takes anything: a number where it looks like one."""
    for found in (_whole(node), _number(node), _truth(node)):
        if found is not None:
            return found
    return node.value


def unquoted(node: Scalar) -> Scalar:
    return msgspec.structs.replace(node, quoted=False, loose=True)


def _whole(node: Scalar) -> int | None:
    value = node.value
    if node.loose and isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return value if type(value) is int else None  # a bool is an int as well


def _number(node: Scalar) -> float | None:
    value: Any = node.value
    # YAML 1.1 takes 1e3 for text, which nobody means.
    if isinstance(value, bool) or value is None or (isinstance(value, str) and node.quoted and not node.loose):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _truth(node: Scalar) -> bool | None:
    value = node.value
    if node.loose and isinstance(value, str):
        return BOOLEANS.get(value.lower())
    return value if isinstance(value, bool) else None


def _within(kind: mi.IntType | mi.FloatType, value: float) -> bool:
    return (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
        and (kind.lt is None or value < kind.lt)
    )


def _fits(kind: mi.StrType, value: str) -> bool:
    return len(value) >= (kind.min_length or 0) and (kind.pattern is None or re.search(kind.pattern, value) is not None)
