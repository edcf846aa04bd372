"""How hard a question looks: the score of a rule, and the cohort of requests that it belongs to.

Neither knows whether a model will answer rightly. The score adds up what people take for signs of difficulty; its
words are English, and another language shows only its length, its figures and its code. The cohort is for counting:
requests that look alike, so that what became of some says something of the next. What both are worth on graded
questions is measured by ``scripts/evaluate``; docs/complexity.md has the figures.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from moltbot_edge.core.prompt import Prompt


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# The first type with one of its words is the request's: what it asks for, not what it is about.
TYPES: Final[tuple[tuple[str, frozenset[str]], ...]] = (
    ("rewrite", _set("summarize summarise summary translate rewrite rephrase proofread extract classify")),
    ("reason", _set("prove derive analyze analyse compare evaluate design plan debug optimize optimise")),
    ("write", _set("write draft compose generate implement create brainstorm")),
    ("explain", _set("explain why describe")),
)
QUESTION: Final = "ask"
REMARK: Final = "chat"

REASONING: Final = _set(
    "prove proof derive analyze analyse compare evaluate justify design debug optimize optimise architect architecture "
    "tradeoff tradeoffs step pros cons cause causes why explain"
)
CONDITIONS: Final = _set("must should least most exactly without unless except only assume such not")
CODE: Final = _set(
    "def class import function python javascript typescript rust golang sql bash regex traceback api json yaml "
    "algorithm code compile compiler"
)
MATHS: Final = _set(
    "solve calculate compute equation probability theorem proof integral derivative percent ratio average many much "
    "total sum polynomial matrix triangle"
)
CODE_SIGNS: Final = ("```", "{\n", ";\n", "}\n")
MATHS_SIGNS: Final = ("=", "∑", "∫", "√", "≤", "≥", "\\frac", "$$")

_words = re.compile(r"[a-z]+").findall
_figures = re.compile(r"\d+").findall
_choices = re.compile(r"^\(?[A-Da-d][.)] ", re.MULTILINE).findall
_items = re.compile(r"^(?:\d+[.)]|[-*]) ", re.MULTILINE).findall

SHORT, MEDIUM, LONG = 200, 800, 2_000  # characters: a line or two, a paragraph, a page
EASY_CHARS, HARD_CHARS = 100, 6_400
MANY_FIGURES: Final = 6
FOREIGN: Final = 0.1  # of the characters outside ASCII: more than a name or a quotation mark brings


class Sign(msgspec.Struct, frozen=True):
    """How much of it there is, from 0 to 1, and the most that it alone adds to a score."""

    name: str
    most: float
    found: float


class Difficulty(msgspec.Struct, frozen=True):
    """*score* is from 0 to 1; *signs* say where it comes from; *cohort* is one of some eight hundred."""

    score: float
    cohort: str
    signs: tuple[Sign, ...]


def difficulty(prompt: Prompt) -> Difficulty:
    """The cohort is its type, its length, and what it is about: ``ask short maths choice``."""
    text = prompt.text
    words = _words(text.lower())
    said = frozenset(words)
    figures = len(_figures(text))
    code = not said.isdisjoint(CODE) or any(sign in text for sign in CODE_SIGNS)
    maths = not said.isdisjoint(MATHS) or any(sign in text for sign in MATHS_SIGNS)
    size = math.log(max(prompt.chars, EASY_CHARS) / EASY_CHARS) / math.log(HARD_CHARS / EASY_CHARS)
    parts = text.count("?") + len(_items(text))
    signs = (
        Sign("length", 0.4, min(1.0, size)),
        Sign("reasoning", 0.5, min(1.0, _count(words, said, REASONING) / 2)),
        Sign("code", 0.35, float(code)),
        Sign("maths", 0.3, float(maths)),
        Sign("figures", 0.3, min(1.0, figures / 12)),
        Sign("conditions", 0.3, min(1.0, _count(words, said, CONDITIONS) / 4)),
        Sign("parts", 0.2, min(1.0, max(0, parts - 1) / 4)),
    )
    marks = {
        "code": code,
        "maths": maths,
        "figures": figures >= MANY_FIGURES,
        "choice": len(_choices(text)) > 1,
        "international": not text.isascii() and sum(map("\x7f".__lt__, text)) > FOREIGN * len(text),
    }
    return Difficulty(
        # Signs add up as chances do: two halves are three quarters, and nothing passes 1.
        score=1 - math.prod(1 - sign.most * sign.found for sign in signs),
        cohort=" ".join((_type(said, text), _length(prompt.chars), *(name for name, found in marks.items() if found))),
        signs=signs,
    )


def _type(words: frozenset[str], text: str) -> str:
    for name, telling in TYPES:
        if not words.isdisjoint(telling):
            return name
    return QUESTION if "?" in text else REMARK


def _length(chars: int) -> str:
    if chars < SHORT:
        return "short"
    if chars < MEDIUM:
        return "medium"
    return "long" if chars < LONG else "very-long"


def _count(words: Sequence[str], said: frozenset[str], telling: frozenset[str]) -> int:
    return 0 if said.isdisjoint(telling) else sum(word in telling for word in words)
