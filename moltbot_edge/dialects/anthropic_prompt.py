"""What a request in Anthropic's shape asks: the last words of its user. A tool's result is none. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from moltbot_edge.api import Prompt
from moltbot_edge.core.decoding import MOST_OBJECTS, UNREADABLE
from moltbot_edge.core.prompt import own_words

ABSENT: Final = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    role: str | None = None
    content: msgspec.Raw = ABSENT


class _Asked(msgspec.Struct):
    messages: list[_Message] = []
    tools: msgspec.Raw = ABSENT


class _Block(msgspec.Struct):
    type: str | None = None
    text: str | None = None


_asked = msgspec.json.Decoder(_Asked).decode
_content = msgspec.json.Decoder(str | list[_Block]).decode


def prompt(body: bytes | bytearray) -> Prompt:
    """A body that is no request of this dialect asks nothing. Its limit is none: every request has to say one."""
    if len(body) > MOST_OBJECTS and body.count(b"{") > MOST_OBJECTS:
        return Prompt()
    try:
        asked = _asked(body)
        said = [_content(message.content) for message in asked.messages if message.role == "user"]
    except UNREADABLE:
        return Prompt()
    images = any(not isinstance(one, str) and any(block.type == "image" for block in one) for one in said)
    questions = [text for one in said if (text := _text(one)) is not None]
    text, chars = own_words(questions[-1]) if questions else ("", 0)
    return Prompt(
        text=text,
        before=own_words(questions[-2])[0] if len(questions) > 1 else "",
        chars=chars,
        turns=len(questions),
        messages=len(asked.messages),
        tools=bytes(memoryview(asked.tools)[:2]) not in (b"", b"nu", b"[]"),
        images=images,
    )


def _text(content: str | list[_Block]) -> str | None:
    if isinstance(content, str):
        return content
    texts = [block.text for block in content if block.type == "text" and block.text]
    return "\n".join(texts) if texts else None
