"""Saved caches: which to save, to load, to believe and to let go. Pure; files are `kv_folder`'s.

A file is worth what it spares, times how likely its conversation comes back, less what it costs to write: time, and
wear of a card. Nothing that llama-server says of a load is believed until a reply says how much of its prompt was
cached: loads of models with a sliding window or a recurrent state succeed, and nothing of them is used
(llama.cpp issues 25913, 26676 and 28194).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import TypeVar

import msgspec

from moltbot_edge.core.prefixes import shared
from moltbot_edge.local.slots import cached_tokens

T = TypeVar("T")

MIB = 1024 * 1024
LEAST_TOKENS = 64  # less is read again before anybody notices
FIRST_TOKENS = 256  # of an engine's first save, which is made to learn what one takes
HALF_LIFE_S = 3600.0  # of the chance that a conversation goes on
FILE_HALF_LIFE_S = 24 * 3600.0  # of what a file is worth: tomorrow at the same time somebody may go on
# A card of 32 GB bears some 10 TB of writing: the 64 MiB of a conversation are a hundred-thousandth of it, for which
# somebody who waits a third of a second longer is asked.
WEAR_S_PER_MIB = 0.005
# Of engines that are idle, those that are lost before they end in good order, which saves as well: the power goes, the
# gateway is killed.
LOST_WHILE_IDLE = 0.05
FAILURES = 2  # in a row: one may be a client that changed what it had said
PROVED, DISPROVED = 0.5, 0.1  # shares of what should have been cached; between them it may be the template
HOUR_S = 3600
DAY_HOURS = 24
KEPT_IDENTITIES = 64

# Until measured. A 1B model's cache takes 17 to 112 KiB a token, a Pi 4 reads 12 to 40 tokens a second, and its card
# some 40 MB.
FIRST_BYTES_PER_TOKEN = 64 * 1024
FIRST_PREFILL_RATE = 40.0
FIRST_STORAGE_RATE = 40e6


class Entry(msgspec.Struct, frozen=True):
    """One saved slot. *file* is its name, *identity* the engine's, *engine* how it was called. Times are seconds since
    1970."""

    file: str
    identity: str
    trail: tuple[int, ...]
    prompt_tokens: int
    tokens: int
    size_bytes: int
    checksum: int
    mtime_ns: int
    used_at: float
    engine: str = ""

    def covers(self, wanted: Sequence[int]) -> int:
        """How many tokens of the prompt *wanted* it spares."""
        return cached_tokens(self.trail, self.prompt_tokens, self.tokens, wanted)


class Rates(msgspec.Struct, frozen=True):
    """What one engine's caches take. Rates are per second; 0 while nobody has measured."""

    bytes_per_token: float = 0.0
    prefill: float = 0.0
    write: float = 0.0
    read: float = 0.0

    def prefill_s(self, tokens: float) -> float:
        return tokens / (self.prefill or FIRST_PREFILL_RATE)

    def size_bytes(self, tokens: int) -> int:
        return int(tokens * (self.bytes_per_token or FIRST_BYTES_PER_TOKEN))

    def write_s(self, size_bytes: float) -> float:
        return size_bytes / (self.write or FIRST_STORAGE_RATE)

    def read_s(self, size_bytes: float) -> float:
        return size_bytes / (self.read or FIRST_STORAGE_RATE)

    def measured(self, tokens: int, prefill_rate: float) -> Rates:
        if tokens < LEAST_TOKENS or prefill_rate <= 0.0:
            return self
        return msgspec.structs.replace(self, prefill=_mean(self.prefill, prefill_rate))

    def wrote(self, tokens: int, size_bytes: int, seconds: float) -> Rates:
        rate = _mean(self.write, size_bytes / max(seconds, 1e-3))
        return msgspec.structs.replace(self, bytes_per_token=size_bytes / max(tokens, 1), write=rate)

    def has_read(self, size_bytes: int, seconds: float) -> Rates:
        return msgspec.structs.replace(self, read=_mean(self.read, size_bytes / max(seconds, 1e-3)))


class Written(msgspec.Struct, frozen=True):
    """Bytes by the hour since 1970 in which they were written. What lies in the future was a clock's mistake."""

    hours: tuple[tuple[int, int], ...] = ()

    def within_a_day(self, now: float) -> int:
        return sum(size for _, size in self._recent(now))

    def plus(self, size_bytes: int, now: float) -> Written:
        hour = int(now // HOUR_S)
        recent = dict(self._recent(now))
        recent[hour] = recent.get(hour, 0) + size_bytes
        return Written(tuple(sorted(recent.items())))

    def _recent(self, now: float) -> list[tuple[int, int]]:
        hour = int(now // HOUR_S)
        return [(when, size) for when, size in self.hours if hour - DAY_HOURS < when <= hour + DAY_HOURS]


class Doubt(msgspec.Struct, frozen=True):
    """*failures* are those since a load was last proved to have spared anything."""

    failures: int = 0

    @property
    def left_out(self) -> bool:
        return self.failures >= FAILURES


class Index(msgspec.Struct, frozen=True):
    """All that is known of the files. *rates* and *doubts* are by identity."""

    entries: tuple[Entry, ...] = ()
    written: Written = Written()
    rates: dict[str, Rates] = {}
    doubts: dict[str, Doubt] = {}

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries)

    def rates_of(self, identity: str) -> Rates:
        return self.rates.get(identity) or Rates()

    def leaves_out(self, identity: str) -> bool:
        doubt = self.doubts.get(identity)
        return doubt is not None and doubt.left_out

    def with_rates(self, identity: str, rates: Rates) -> Index:
        return msgspec.structs.replace(self, rates=_latest(self.rates, identity, rates))

    def with_doubt(self, identity: str, doubt: Doubt) -> Index:
        return msgspec.structs.replace(self, doubts=_latest(self.doubts, identity, doubt))

    def without(self, gone: Iterable[Entry]) -> Index:
        files = {entry.file for entry in gone}
        return msgspec.structs.replace(self, entries=tuple(entry for entry in self.entries if entry.file not in files))


def file_name(identity: str, trail: Sequence[int]) -> str:
    """The same for the same conversation at the same point, of the same engine."""
    told = hashlib.sha256(identity.encode())
    for mark in trail:
        told.update(mark.to_bytes(8, "little"))
    return f"{told.hexdigest()}.kv"


class Verdict(Enum):
    PROVED = "proved"
    DISPROVED = "disproved"
    OPEN = "open"


def chance_of_return(went_on: int, began: int, idle_s: float = 0.0) -> float:
    """That a conversation comes back, of so many requests that did and did not go on with one."""
    return float((went_on + 1) / (went_on + began + 2) * 0.5 ** (idle_s / HALF_LIFE_S))


def is_worth_saving(tokens: int, kept_tokens: int, rates: Rates, chance: float, spent_share: float) -> bool:
    """*kept_tokens* of them lie in a file already. *spent_share* is of the day's writing: what is left gets dearer."""
    if tokens - kept_tokens < LEAST_TOKENS or spent_share >= 1.0:
        return False
    if not rates.write:
        return tokens >= FIRST_TOKENS
    size_bytes = rates.size_bytes(tokens)
    spared_s = rates.prefill_s(tokens - kept_tokens) - (0.0 if kept_tokens else rates.read_s(size_bytes))
    wear_s = size_bytes / MIB * WEAR_S_PER_MIB / (1.0 - spent_share)
    return spared_s * chance > rates.write_s(size_bytes) + wear_s


def best(
    entries: Iterable[Entry], identity: str, wanted: Sequence[int], held_tokens: int, rates: Rates
) -> Entry | None:
    """The file that is worth being loaded for the prompt *wanted*, of which *held_tokens* are in the slot already."""
    found, most_s = None, 0.0
    for entry in entries:
        if entry.identity != identity:
            continue
        spared = entry.covers(wanted) - held_tokens
        if spared < LEAST_TOKENS:
            continue
        gain_s = rates.prefill_s(spared) - rates.read_s(entry.size_bytes)
        if gain_s > most_s:
            found, most_s = entry, gain_s
    return found


def left_behind(entries: Iterable[Entry], engine: str, wanted: Sequence[int]) -> Entry | None:
    """What an engine of this name saved most of the prompt *wanted* in. Whether it is the same one is not asked."""
    found = [entry for entry in entries if entry.engine == engine and entry.covers(wanted) >= LEAST_TOKENS]
    return max(found, key=lambda entry: entry.covers(wanted), default=None)


def superseded(entries: Iterable[Entry], by: Entry) -> list[Entry]:
    """Earlier states of the same conversation."""
    return [
        entry
        for entry in entries
        if entry.identity == by.identity and shared(entry.trail, by.trail) == len(entry.trail) and entry.file != by.file
    ]


def leaving(index: Index, need_bytes: int, limit_bytes: int, now: float) -> list[Entry] | None:
    """The files that are worth least for their bytes, until there is room. None: it would not fit alone."""
    if need_bytes > limit_bytes:
        return None
    over = index.size_bytes + need_bytes - limit_bytes
    gone: list[Entry] = []
    for entry in sorted(index.entries, key=lambda entry: _worth(entry, index, now)):
        if over <= 0:
            break
        gone.append(entry)
        over -= entry.size_bytes
    return gone


def verdict(entry: Entry, wanted: Sequence[int], cached: int) -> Verdict:
    """What a reply shows that had *cached* tokens after *entry* was loaded for it."""
    expected = min(entry.covers(wanted), entry.prompt_tokens)  # a reply may be written otherwise when it comes back
    if cached >= expected * PROVED:
        return Verdict.PROVED
    return Verdict.DISPROVED if cached < expected * DISPROVED else Verdict.OPEN


def _worth(entry: Entry, index: Index, now: float) -> float:
    """Seconds spared for each byte; older ones less."""
    age_s = max(now - entry.used_at, 0.0)
    spared_s = index.rates_of(entry.identity).prefill_s(entry.tokens)
    return float(spared_s * 0.5 ** (age_s / FILE_HALF_LIFE_S) / max(entry.size_bytes, 1))


def _mean(before: float, now: float) -> float:
    return now if before <= 0.0 else before + (now - before) * 0.3


def _latest(known: dict[str, T], key: str, value: T) -> dict[str, T]:
    """With *value* as the youngest; the oldest goes where there are too many."""
    after = {one: other for one, other in known.items() if one != key}
    after[key] = value
    while len(after) > KEPT_IDENTITIES:
        del after[next(iter(after))]
    return after
