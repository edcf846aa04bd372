"""How many tokens something will be for a model that nobody has asked: an estimate from its text, on the high side.

Measured with SmolLM2, whose vocabulary is small (49,000), in bytes per token: English 4.7, code and Markdown 3.7,
German 2.8, Russian 2.6, JSON with numbers 1.7, Chinese 1.8, digits 1.0. Larger vocabularies make fewer of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from moltbot_edge.core.chat import (
    File,
    Image,
    Message,
    Own,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)

BYTES_PER_TOKEN: Final = 3
PER_MESSAGE: Final = 8  # what a template puts around it: five with ChatML and Llama 3
PER_CALL: Final = 16  # of a tool's name and its brackets
PER_TOOL: Final = 24
PER_PICTURE: Final = 1_100  # from 85 to 1,600 with the vendors; most models for small boards take 256 to 1,024
BYTES_PER_FILE_TOKEN: Final = 16  # of a document or a sound in base64; a page of 50 KiB is some 3,000

_DIGITS: Final = b"0123456789"


def of_text(text: str) -> int:
    """A digit is a token, and a letter that is not Latin most of one."""
    data = text.encode("utf-8", "replace")
    size = len(data)
    digits = size - len(data.translate(None, _DIGITS))
    continued = size - len(text)
    return (len(text) + 2 * (digits + continued)) // BYTES_PER_TOKEN + 1 if text else 0


def of_message(message: Message, *, thoughts: bool = False) -> int:
    """Without its *thoughts*, unless said: most models are not sent them again."""
    found = PER_MESSAGE + _of_parts(message.parts)
    if thoughts:
        found += sum(of_text(part.text) for part in message.parts if isinstance(part, Reasoning))
    return found


def of_tools(tools: Iterable[Tool]) -> int:
    found = 0
    for tool in tools:
        schema = b"" if tool.parameters is None else tool.parameters
        said = of_text(tool.name) + of_text(tool.description or "") + of_text(schema.decode("utf-8", "replace"))
        found += PER_TOOL + said
    return found


def is_plain(message: Message) -> bool:
    """Whether it is all text: of pictures and files, models differ too much to learn from what one counted."""
    return not any(_is_opaque(part) for part in message.parts)


def _is_opaque(part: Part) -> bool:
    return isinstance(part, Image | File | Own) or (isinstance(part, ToolResult) and any(map(_is_opaque, part.parts)))


def _of_parts(parts: Iterable[Part]) -> int:
    found = 0
    for part in parts:
        match part:
            case Text(text=text) | Refusal(text=text):
                found += of_text(text)
            case ToolCall(name=name, arguments=arguments, id=id):
                found += PER_CALL + of_text(name) + of_text(id) + of_text(arguments)
            case ToolResult(parts=inner):
                found += PER_CALL + _of_parts(inner)
            case Image():
                found += PER_PICTURE
            case File(data=data, text=words):
                found += PER_PICTURE + of_text(words or "") + len(data or "") // BYTES_PER_FILE_TOKEN
            case Own(raw=raw):
                found += len(raw) // BYTES_PER_TOKEN
            case _:
                pass
    return found
