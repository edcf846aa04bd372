"""What a canonical chat asks, as a policy may look at it: of a kept conversation the new message, with all behind it.

Tools and images of the whole count, for whoever answers is sent the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moltbot_edge.core.chat import ChatRequest, Image, Message, Part, Role, Text, ToolResult
from moltbot_edge.core.prompt import Prompt, own_words


def prompt(chat: ChatRequest) -> Prompt:
    """A tool's result is no question, nor is a message without a text."""
    questions = [said for message in chat.messages if message.role is Role.USER and (said := _said(message))]
    text, chars = own_words(questions[-1]) if questions else ("", 0)
    return Prompt(
        text=text,
        before=own_words(questions[-2])[0] if len(questions) > 1 else "",
        chars=chars,
        turns=len(questions),
        messages=len(chat.messages),
        tools=bool(chat.tools),
        images=any(isinstance(part, Image) for part in _parts(chat.messages)),
        # Every request in Anthropic's dialect has to say a limit, so there it says nothing.
        limited=chat.max_tokens is not None and chat.origin != "anthropic-messages",
    )


def _said(message: Message) -> str:
    return "\n".join(part.text for part in message.parts if isinstance(part, Text) and part.text)


def _parts(messages: Sequence[Message]) -> Iterator[Part]:
    for message in messages:
        for part in message.parts:
            yield part
            if isinstance(part, ToolResult):
                yield from part.parts
