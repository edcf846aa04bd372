"""Where a prompt ceased to be what it was: the first differing bytes, for a line in the log. Pure."""

from __future__ import annotations

import msgspec

SHOWN_BYTES = 40
PROBE_BYTES = 48  # longer than what stands between two messages
PROBES = (8, 48, 128, 512)  # bytes behind the difference, where the old text may go on in the new one
SHIFT_BYTES = 512  # by which what changed may have grown or shrunk


class Difference(msgspec.Struct, frozen=True):
    """*at* counts bytes. *before* and *after* begin half of `SHOWN_BYTES` earlier, where both are still the same."""

    at: int
    before: bytes
    after: bytes

    def __str__(self) -> str:
        before, after = (piece.decode("utf-8", "replace") for piece in (self.before, self.after))
        return f"at byte {self.at}, {before!a} was before what is now {after!a}"


def difference(before: bytes | memoryview, after: bytes | memoryview) -> Difference | None:
    """None where *after* goes on from *before*, and where it is another conversation: nothing of it comes again."""
    at = _same_bytes(memoryview(before), memoryview(after))
    if at in (len(before), len(after)):
        return None
    begin = max(at - SHOWN_BYTES // 2, 0)
    near = bytes(after[at : at + max(PROBES) + PROBE_BYTES + SHIFT_BYTES])
    for probe in PROBES:
        old = bytes(before[at + probe : at + probe + PROBE_BYTES])
        if len(old) == PROBE_BYTES and old in near:
            end = begin + SHOWN_BYTES
            return Difference(at, bytes(before[begin:end]), bytes(after[begin:end]))
    return None


def _same_bytes(one: memoryview, other: memoryview) -> int:
    """How many bytes both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # all below *low* are the same
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
