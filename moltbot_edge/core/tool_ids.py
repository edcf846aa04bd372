"""Ids of tool calls, as each provider wants them. Not who answers which call: that is `core.calls`.

Source: Mistral's templates refuse what is not nine letters and digits, Google's takes letters and digits only,
Anthropic's API checks ``^[a-zA-Z0-9_-]+$``, OpenAI's refuses more than 40 characters (64 in Responses).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

import msgspec

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
MADE_CHARS: Final = 24  # of an id that is made, where its length is free: 142 bits

_plain = re.compile(r"[A-Za-z0-9]+").fullmatch
_word = re.compile(r"[A-Za-z0-9_-]+").fullmatch


class IdRule(msgspec.Struct, frozen=True):
    """*exactly* so many characters, or *at_most*; *plain*: letters and digits, without ``_`` and ``-``."""

    at_most: int = 40
    exactly: int | None = None
    plain: bool = False

    def allows(self, tool_id: str) -> bool:
        if not (_plain if self.plain else _word)(tool_id):
            return False
        return len(tool_id) == self.exactly if self.exactly is not None else len(tool_id) <= self.at_most

    def made(self, tool_id: str, salt: int = 0) -> str:
        """An id by this rule: the same for the same id, so that a prompt's beginning stays what it was."""
        digest = blake2b(tool_id.encode("utf-8", "replace"), digest_size=32, salt=salt.to_bytes(8, "big"))
        number = int.from_bytes(digest.digest(), "big")
        chars = []
        for _ in range(self.exactly or min(self.at_most, MADE_CHARS)):
            number, digit = divmod(number, len(ALPHABET))
            chars.append(ALPHABET[digit])
        return "".join(chars)


ANTHROPIC: Final = IdRule(at_most=64)
OPENAI: Final = IdRule(at_most=40)
MISTRAL: Final = IdRule(exactly=9, plain=True)
GOOGLE: Final = IdRule(at_most=40, plain=True)


def mapped(ids: Iterable[str], rule: IdRule) -> Mapping[str, str]:
    """Each of *ids* and what *rule* makes of it: itself where it may stay. No two become one, so it can be turned."""
    found = dict.fromkeys(ids)
    taken = {one for one in found if rule.allows(one)}
    renamed: dict[str, str] = {}
    for one in found:
        if one in taken:
            renamed[one] = one
            continue
        salt = 0
        while (made := rule.made(one, salt)) in taken:
            salt += 1
        taken.add(made)
        renamed[one] = made
    return renamed
