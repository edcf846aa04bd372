"""What a request asks, as far as a policy may look: the last question's beginning, and what comes with it.

A dialect reads it from a body, and only when somebody wants to know. Never stored, never logged.
"""

from __future__ import annotations

import re

import msgspec

READ_CHARS = 2_048  # of a question; what makes it hard is said by then, and a pasted file costs no more than a page

# What programs put into a user's message around the user's own words; such as an agent's, of what has changed.
_MARKED = re.compile(
    r"<(system-reminder|system|environment_details|environment_context|context)>.*?(?:</\1>|\Z)", re.DOTALL
)


class Prompt(msgspec.Struct, frozen=True):
    """*text* is the last question, *before* the one before it, each up to `READ_CHARS` and without what programs add.

    *chars* is the length of the whole question, *turns* counts the questions, *messages* whatever was said. *limited*:
    the caller wants no more than so many tokens.
    """

    text: str = ""
    before: str = ""
    chars: int = 0
    turns: int = 0
    messages: int = 0
    tools: bool = False
    images: bool = False
    limited: bool = False


def own_words(text: str) -> tuple[str, int]:
    """*text* without what a program has marked as its own, up to `READ_CHARS`; and how long it is in all."""
    chars = len(text)
    if "<" in text:
        # A reminder may be longer than what is read, so more is looked at; but never all of a megabyte.
        looked_at = text[: 8 * READ_CHARS]
        text = _MARKED.sub("", looked_at)
        chars -= len(looked_at) - len(text)
    return text[:READ_CHARS].strip(), chars
