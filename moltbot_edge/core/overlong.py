"""What a refusal says of a prompt that is too long: how long it was, and how long it may be. From its words; pure.

As llama-server, OpenAI and those who copy its words, vLLM, Anthropic, Gemini and Mistral say it.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

MOST_TOKENS: Final = 10**8  # what is larger is no window

_window = re.compile(
    r"context size \((\d+)|maximum (?:context|model) length (?:is|of) (\d+)|> (\d+) maximum"
    r"|tokens allowed \((\d+)|with (\d+) maximum context",
    re.IGNORECASE,
).search
_prompt = re.compile(
    r"request \((\d+) tokens|\((\d+) in the messages|has (\d+) input tokens|resulted in (\d+) tokens"
    r"|prompt \(length (\d+)|too long: (\d+) tokens|token count \((\d+)|contains (\d+) tokens"
    r"|requested (\d+) tokens(?! \(\d+ in the messages)",
    re.IGNORECASE,
).search


class Overlong(msgspec.Struct, frozen=True):
    """None: it does not say."""

    prompt_tokens: int | None = None
    window_tokens: int | None = None


def overlong(message: str) -> Overlong:
    return Overlong(_number(_prompt(message)), _number(_window(message)))


def _number(found: re.Match[str] | None) -> int | None:
    if found is None:
        return None
    digits = next(group for group in found.groups() if group is not None)
    number = int(digits) if len(digits) <= 9 else MOST_TOKENS
    return number if 0 < number < MOST_TOKENS else None
