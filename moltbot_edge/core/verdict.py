"""What shows how good a reply was, without reading it: its own form, the caller's next question, a thumb.

None of it is proof. A reply may be wrong and the conversation go on; a question may come again because a script asks
it. So each sign has a weight, and only a thumb counts fully. Of a question no text is kept: hashes, under a secret
that lives as long as the process, and the hashes of some of its words.

Source: the implicit signals that chat services report to use, regeneration, rephrasing and switching models among
them. The weights are judgement, not measured.
"""

from __future__ import annotations

import re
from binascii import crc32
from hashlib import blake2b
from typing import Final

import msgspec

from moltbot_edge.core.prompt import Prompt

SKETCH_WORDS: Final = 16
ALIKE: Final = 0.5  # of the words of two questions are the same
# Nobody has read an answer sooner; what asks again at once is a program.
SOONEST_S: Final = 2.0
LATEST_S: Final = 60.0
ID_CHARS: Final = 128  # of a reply; an upstream's may be of any length

_words = re.compile(r"\w+").findall


class Verdict(msgspec.Struct, frozen=True):
    """*sign* is a metric's label."""

    sign: str
    good: float = 0.0
    bad: float = 0.0


GOES_ON: Final = Verdict("goes-on", good=0.25)
EMPTY: Final = Verdict("empty", bad=1.0)
BROKEN_CALL: Final = Verdict("broken-tool-call", bad=1.0)
CUT_OFF: Final = Verdict("cut-off", bad=0.5)
REFUSED: Final = Verdict("refused", bad=1.0)
ASKED_AGAIN: Final = Verdict("asked-again", bad=0.5)
REPHRASED: Final = Verdict("rephrased", bad=0.25)
ASKED_ELSEWHERE: Final = Verdict("asked-elsewhere", bad=0.5)
THUMB_UP: Final = Verdict("thumb-up", good=1.0)
THUMB_DOWN: Final = Verdict("thumb-down", bad=1.0)


class Impression(msgspec.Struct, frozen=True):
    """The form of a whole reply. *cut_off*: it ended because it grew too long, not because it was done."""

    empty: bool = False
    cut_off: bool = False
    broken_call: bool = False


class Trace(msgspec.Struct, frozen=True):
    """What is kept of a question: enough to know it again, and not what it was."""

    text: bytes
    before: bytes
    words: frozenset[int]
    turns: int
    messages: int


def trace(prompt: Prompt, secret: bytes) -> Trace:
    hashes = sorted({crc32(word.encode("utf-8", "replace")) for word in _words(prompt.text.lower())})
    return Trace(
        _digest(prompt.text, secret),
        _digest(prompt.before, secret),
        frozenset(hashes[:SKETCH_WORDS]),
        prompt.turns,
        prompt.messages,
    )


def of_reply(impression: Impression, limited: bool) -> Verdict | None:
    """*limited*: the caller set a limit to the reply's length, so that reaching it is no fault."""
    if impression.broken_call:
        return BROKEN_CALL
    if impression.cut_off:
        return None if limited else CUT_OFF
    return EMPTY if impression.empty else None


def of_next(earlier: Trace, later: Trace, *, after_s: float, same_alias: bool, same_model: bool) -> Verdict | None:
    """What the caller's next question says of the reply to the earlier one, *after_s* after its end.

    *same_model* is whether the model that replied may be the one to reply again.
    """
    if later.before == earlier.text and later.turns == earlier.turns + 1:
        return GOES_ON
    same_place = later.before == earlier.before and later.turns == earlier.turns
    same_text = same_place and later.text == earlier.text
    if same_text and later.messages > earlier.messages:
        return GOES_ON  # with the results of the tools that it called
    if not same_place or not SOONEST_S <= after_s <= LATEST_S:
        return None
    if same_text:
        if later.messages != earlier.messages:
            return None
        if same_alias:
            return ASKED_AGAIN
        return None if same_model else ASKED_ELSEWHERE
    return REPHRASED if same_alias and _alike(earlier.words, later.words) >= ALIKE else None


def _alike(one: frozenset[int], other: frozenset[int]) -> float:
    """The share of words in common, estimated from the least hashes of both (Broder 1997)."""
    both = sorted(one | other)[:SKETCH_WORDS]
    return sum(word in one and word in other for word in both) / len(both) if both else 0.0


def _digest(text: str, secret: bytes) -> bytes:
    return blake2b(text.encode("utf-8", "replace"), digest_size=16, key=secret).digest() if text else b""
