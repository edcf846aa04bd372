"""What a decorator leaves on a plug-in's function or class. Nothing is registered here: `registry` collects."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

NAME = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")
_ATTRIBUTE = "__moltbot_plugin__"


class Mark(msgspec.Struct, frozen=True):
    kind: str
    name: str


def mark(kind: str, name: str) -> Callable[[T], T]:
    """A decorator that says: this is the *kind* called *name*. The object itself stays as it is."""
    if not NAME.fullmatch(name):
        raise ValueError(f"a {kind}'s name is lower-case words joined by - _ or dots, not {name!r}")

    def decorate(target: T) -> T:
        if not isinstance(target, (type, FunctionType)):
            raise TypeError(f"@{kind}({name!r}) goes on a function or a class, not on {target!r}")
        earlier = mark_of(target)
        if earlier is not None:
            raise TypeError(f"{target.__qualname__} is the {earlier.kind} {earlier.name!r} already")
        setattr(target, _ATTRIBUTE, Mark(kind, name))
        return target

    return decorate


def mark_of(target: Any) -> Mark | None:
    """A mark is not inherited: a subclass of a plug-in is no plug-in until it is marked itself."""
    found = getattr(target, "__dict__", {}).get(_ATTRIBUTE)
    return found if isinstance(found, Mark) else None
