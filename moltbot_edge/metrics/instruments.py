"""Counters, gauges and histograms. A family has a name and labels; a cell is one series of it, held where it changes.

For one event loop: nothing here is locked. The number of series is bounded, because the values of labels may
come from outside: past the limit, new ones share the series whose every label says ``other``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

SERIES_LIMIT = 1_000  # of a family; a home's gateway has tens, and a scrape of so many histograms is 1.5 MB
OTHER = "other"


class Count:
    """One series of a counter. Only the exposition and `process` read or set *value*."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, n: float = 1) -> None:
        """*n* is not negative; a counter that falls looks like a restart."""
        self.value += n


class Level:
    """One series of a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def set(self, value: float) -> None:
        self.value = value

    def add(self, n: float = 1) -> None:
        self.value += n


class Spread:
    """One series of a histogram. *counts* are of each bucket alone; the last is of what is over every bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1  # a bucket holds what equals its bound
        self.sum += value


Cell = TypeVar("Cell", Count, Level, Spread)


class Family(Generic[Cell]):
    kind: ClassVar[str]

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        *,
        limit: int = SERIES_LIMIT,
        folded: Count | None = None,
    ) -> None:
        """*folded* counts the requests for a cell that had to share ``other``."""
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self._limit = limit
        self._folded = folded
        self._cells: dict[tuple[str, ...], Cell] = {}
        if not labels:
            self.cell()  # there from the first scrape on

    def cell(self, *values: str) -> Cell:
        """The series with these values of the labels, in their order; always the same object for the same values."""
        cell = self._cells.get(values)
        return self._fresh(values) if cell is None else cell

    def series(self) -> list[tuple[tuple[str, ...], Cell]]:
        return list(self._cells.items())

    def _fresh(self, values: tuple[str, ...]) -> Cell:
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, got {values}")
        if len(self._cells) >= self._limit:
            values = (OTHER,) * len(values)
            if self._folded is not None:
                self._folded.add()
        return self._cells.setdefault(values, self._empty())

    def _empty(self) -> Cell:
        raise NotImplementedError


class Counter(Family[Count]):
    kind = "counter"

    def _empty(self) -> Count:
        return Count()


class Gauge(Family[Level]):
    kind = "gauge"

    def _empty(self) -> Level:
        return Level()


class Histogram(Family[Spread]):
    kind = "histogram"

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        *,
        bounds: Sequence[float],
        limit: int = SERIES_LIMIT,
        folded: Count | None = None,
    ) -> None:
        """*bounds* rise; the bucket over the last of them is understood."""
        self.bounds = tuple(bounds)
        super().__init__(name, help, labels, limit=limit, folded=folded)

    def _empty(self) -> Spread:
        return Spread(self.bounds)
