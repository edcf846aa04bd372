"""The figures, and the samples of one target. Values only: `rounds` fills them, `table` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median


class Figure(StrEnum):
    """The names are those in the JSON output, with their units."""

    CPU_PER_REQUEST = "cpu_us_per_request"
    CPU_PER_EVENT = "cpu_us_per_event"
    CPU_PER_TRANSLATED = "cpu_us_per_translated_event"
    CPU_PER_TURN_1 = "cpu_us_per_turn_over_relay_after_1"  # of a session, with so many turns before it
    CPU_PER_TURN_8 = "cpu_us_per_turn_over_relay_after_8"
    CPU_PER_TURN_32 = "cpu_us_per_turn_over_relay_after_32"
    CPU_PER_TURN_ALONE = "cpu_us_per_turn_over_relay_of_one_caller"
    BYTES_PER_TURN = "bytes_written_per_turn_of_one_caller"  # handed to write()
    DISK_BYTES_PER_TURN = "disk_bytes_per_turn_of_one_caller"  # in pages of 4 KiB, each time that one is written
    BYTES_PER_READ = "bytes_written_per_read"
    RATE = "requests_per_s"
    BUSY = "core_share"  # of the target's core while RATE was taken: under 0.9 the load was the limit, not the target
    ADDED_P50 = "added_p50_us"
    ADDED_P99 = "added_p99_us"
    FIRST_EVENT = "first_event_p50_ms"
    START = "start_ms"
    IDLE_RSS = "idle_rss_bytes"
    IDLE_PSS = "idle_pss_bytes"
    IDLE_ANONYMOUS = "idle_anonymous_bytes"
    PEAK_RSS = "peak_rss_bytes"
    BINARY = "binary_bytes"  # of this gateway, when a built one is measured


Samples = tuple[float | None, ...]  # one a round, None where the round gave none: two targets' rounds stay side by side


@dataclass(frozen=True)
class Measured:
    """One target's row."""

    name: str
    version: str
    samples: Mapping[Figure, Samples]
    answers: Mapping[str, int] = field(default_factory=dict)  # of the clients that posted at once: status -> how many
    troubles: tuple[str, ...] = ()  # what went wrong on the way, each in one line


@dataclass(frozen=True)
class Absent:
    """A row that only says why there is none."""

    name: str
    why: str


Row = Measured | Absent


@dataclass(frozen=True)
class Direct:
    """The load against the stub itself, nothing between: what the others' latencies are compared with."""

    rate: float
    p50_us: float
    p99_us: float
    first_event_p50_ms: float


@dataclass(frozen=True)
class Middle:
    """The median of samples; *spread* is half their range as a share of it, None for a single sample."""

    value: float
    spread: float | None


def middle(samples: Samples) -> Middle | None:
    known = [sample for sample in samples if sample is not None]
    if not known:
        return None
    value = median(known)
    return Middle(value, (max(known) - min(known)) / 2 / abs(value) if len(known) > 1 and value else None)


def ratio(samples: Samples, reference: Samples) -> float | None:
    """The median of the rounds' own ratios: what slowed one round slowed both."""
    ratios = [ours / theirs for ours, theirs in zip(samples, reference, strict=False) if ours is not None and theirs]
    return median(ratios) if ratios else None
