"""One thing wrong in a configuration: where, what was found, what would be right."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import msgspec

Path = tuple[str | int, ...]  # ("model_registry", 1, "endpoint")


class Place(msgspec.Struct, frozen=True):
    """*source* is the file as it was named, or the variable or option a value came from; then *line* is None."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


class Problem(msgspec.Struct, frozen=True):
    """*path* is empty where the whole file is meant. A *warning* stops nothing."""

    path: str
    line: int | None
    message: str
    source: str = ""
    warning: bool = False

    def __str__(self) -> str:
        place = str(Place(self.source, self.line)) if self.source else ""
        return ": ".join(filter(None, (place, "warning" if self.warning else "", self.path, self.message)))


class ConfigError(Exception):
    """Everything that is wrong, warnings included, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = list(problems)


def problem(path: Path, place: Place, message: str, *, warning: bool = False) -> Problem:
    return Problem(written(path), place.line, message, place.source, warning)


def written(path: Path) -> str:
    """``model_registry[1].endpoint``; a name that would not read well so is quoted: ``aliases["gpt-4.1"]``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[\w-]+", step):
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text


def did_you_mean(word: str, among: Iterable[str]) -> str:
    """``; did you mean `endpoint`?``, or nothing."""
    near = nearest(word, among)
    return f"; did you mean `{near}`?" if near is not None else ""


def nearest(word: str, among: Iterable[str]) -> str | None:
    from difflib import get_close_matches  # only whoever has made a slip pays for it

    known = {name.casefold(): name for name in among}
    found = get_close_matches(word.casefold(), known, n=1)
    return known[found[0]] if found else None


def unknown(kind: str, name: str, known: Collection[str]) -> str:
    names = sorted(known)
    hint = did_you_mean(name, names)
    there = f"; there are: {', '.join(names)}" if names else "; there are none"
    return f"no {kind} is named {name!r}{hint or there}"
