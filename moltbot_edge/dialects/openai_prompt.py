"""What a request in OpenAI's shape asks: chat's last question, a completion's prompt, an embedding's input. Pure.

Only the pieces that are looked at are decoded, and of a long one only the beginning: a body may be megabytes.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from moltbot_edge.api import Prompt
from moltbot_edge.core.decoding import MOST_OBJECTS, UNREADABLE
from moltbot_edge.core.prompt import own_words

LONG_BYTES: Final = 64 * 1024
LONGEST_CUT: Final = 12  # bytes: a character of two escapes, \ud83d\ude00
ABSENT = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    role: str | None = None
    content: msgspec.Raw = ABSENT


class _Asked(msgspec.Struct):
    messages: list[_Message] | None = None
    prompt: msgspec.Raw = ABSENT
    input: msgspec.Raw = ABSENT
    query: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    functions: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT
    max_completion_tokens: msgspec.Raw = ABSENT


class _Part(msgspec.Struct):
    text: str | None = None


_asked = msgspec.json.Decoder(_Asked).decode
_text = msgspec.json.Decoder(str).decode
# Within a text the quotes would be escaped, so this is a part of a content.
_image = re.compile(rb'"type"\s*:\s*"(?:image_url|input_image)"').search
_parts = msgspec.json.Decoder(list[_Part | str]).decode


def prompt(body: bytes | bytearray) -> Prompt:
    """A body that is none of these asks nothing."""
    if len(body) > MOST_OBJECTS and body.count(b"{") > MOST_OBJECTS:
        return Prompt()
    try:
        asked = _asked(body)
    except UNREADABLE:
        return Prompt()
    limited = _holds(asked.max_tokens) or _holds(asked.max_completion_tokens)
    if asked.messages is None:
        whole = next((one for one in (asked.prompt, asked.input, asked.query) if _holds(one)), ABSENT)
        text, chars = _said(whole)
        return Prompt(text, chars=chars, turns=1, messages=1, limited=limited)
    questions = [message.content for message in asked.messages if message.role == "user"]
    text, chars = _said(questions[-1]) if questions else ("", 0)
    return Prompt(
        text=text,
        before=_said(questions[-2])[0] if len(questions) > 1 else "",
        chars=chars,
        turns=len(questions),
        messages=len(asked.messages),
        tools=_holds(asked.tools) or _holds(asked.functions),
        images=_image(body) is not None,
        limited=limited,
    )


def _holds(field: msgspec.Raw) -> bool:
    return bytes(memoryview(field)[:5]) not in (b"", b"null", b"[]", b"{}")


def _said(content: msgspec.Raw) -> tuple[str, int]:
    """The own words of a content, and the length of the whole."""
    view = memoryview(content)
    first = bytes(view[:1])
    if first == b'"' and len(view) > LONG_BYTES:
        return own_words(_beginning(bytes(view[:LONG_BYTES])))[0], len(view)
    try:
        if first == b'"':
            return own_words(_text(content))
        if first == b"[":
            texts = [part if isinstance(part, str) else part.text or "" for part in _parts(content)]
            return own_words("\n".join(text for text in texts if text))
    except UNREADABLE:
        pass
    return "", 0


def _beginning(content: bytes) -> str:
    """Of a JSON text that went on; cut where no character and no escape is halved."""
    for cut in range(LONGEST_CUT + 1):
        try:
            return _text(content[: len(content) - cut] + b'"')
        except UNREADABLE:
            continue
    return ""
