"""The metrics as Prometheus reads them: text format 0.0.4, in pieces, so that many series are never one string.

Source: prometheus.io, "Exposition formats": HELP escapes backslash and line feed, a label's value the quote too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from moltbot_edge.metrics.instruments import Count, Family, Level, Spread

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
PIECE_BYTES = 16 * 1024

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def pieces(families: Iterable[Family[Any]]) -> Iterator[bytes]:
    """The whole text, in pieces of `PIECE_BYTES` and at most a series more.

    A family's series are listed when its turn comes, so that the metrics may change between two pieces.
    """
    held: list[str] = []
    size = 0
    for block in _blocks(families):
        held.append(block)
        size += len(block)
        if size >= PIECE_BYTES:
            yield "".join(held).encode("utf-8", "replace")
            held.clear()
            size = 0
    if held:
        yield "".join(held).encode("utf-8", "replace")


def _blocks(families: Iterable[Family[Any]]) -> Iterator[str]:
    """A family's head, or all lines of one series, so that buckets, sum and count are of one moment."""
    for family in families:
        name = family.name
        yield f"# HELP {name} {family.help.translate(_HELP_ESCAPES)}\n# TYPE {name} {family.kind}\n"
        for values, cell in family.series():
            labels = _labels(family.labels, values)
            match cell:
                case Spread():
                    yield _spread(name, labels, cell)
                case Count() | Level():
                    yield f"{name}{_braced(labels)} {_number(cell.value)}\n"


def _spread(name: str, labels: str, cell: Spread) -> str:
    before = labels + "," if labels else ""
    lines = []
    total = 0
    for bound, total in zip((*cell.bounds, float("inf")), accumulate(cell.counts), strict=True):
        lines.append(f'{name}_bucket{{{before}le="{_number(float(bound))}"}} {total}\n')
    braced = _braced(labels)
    lines.append(f"{name}_sum{braced} {_number(cell.sum)}\n{name}_count{braced} {total}\n")
    return "".join(lines)


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True))


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _number(value: float) -> str:
    """As Go's ParseFloat reads it. A bound keeps its ``.0``: Prometheus 3 writes ``le`` so, whatever it reads."""
    if value == float("inf"):
        return "+Inf"
    if value == float("-inf"):
        return "-Inf"
    return "NaN" if value != value else repr(value)
