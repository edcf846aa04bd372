"""A summary of what was left out of a conversation: which one there is, and what a model is asked that makes one.

Pure. It goes on from the summary before: what a model reads for it stays short, however long the conversation is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from moltbot_edge.core.calls import told
from moltbot_edge.core.chat import File, Image, Message, Part, Refusal, Role, Text
from moltbot_edge.core.cuts import place_of, starts_of
from moltbot_edge.core.session import Cut, Turn
from moltbot_edge.core.tokens import BYTES_PER_TOKEN

ROOM_TOKENS: Final = 32  # of the words around it
LONGEST_SHARE: Final = 4  # of what is read for it, one message may be a quarter
CHARS_PER_TOKEN: Final = 6  # more is no language

_WISH: Final = (
    "Summarise the conversation below in at most {} words, for somebody who has to go on with it without having read "
    "it. Keep names, numbers, decisions, results of tools, and what is still to be done. Write in the language of the "
    "conversation, and nothing but the summary."
)
_SPEAKERS: Final = {Role.USER: "User", Role.ASSISTANT: "Assistant", Role.SYSTEM: "System", Role.TOOL: "Tool"}
_ENDS_THOUGHT: Final = "</think>"


def window_class(window_tokens: int) -> int:
    """The power of two not above it: windows of about one size share a summary."""
    return window_tokens.bit_length() - 1


def known(turns: Sequence[Turn], cut: Cut) -> str | None:
    """The one that was made for *cut* before."""
    for turn in reversed(turns):
        other = turn.cut
        if other is not None and other.summary is not None and _is_same(other, cut):
            return other.summary
    return None


def _is_same(one: Cut, other: Cut) -> bool:
    return ((one.turn, one.messages, one.question) == (other.turn, other.messages, other.question)) and window_class(
        one.window_tokens
    ) == window_class(other.window_tokens)


def before(turns: Sequence[Turn], begins: int) -> tuple[str | None, int]:
    """The summary of the most of what stands before message *begins*, and the place where it ends."""
    starts: dict[str, int] | None = None
    found: tuple[str | None, int] = None, 0
    for turn in turns:
        if turn.cut is not None and turn.cut.summary is not None:
            starts = starts or starts_of(turns)
            place = place_of(turn.cut, starts)
            if found[1] < place < begins:
                found = turn.cut.summary, place
    return found


def message(summary: str) -> Message:
    """As a model is sent it: a user's words, for what was made of those has no more to say than they had."""
    said = f"(What was said before, in short:)\n{summary}\n(The conversation goes on from here.)"
    return Message(Role.USER, (Text(text=said),))


def question(
    earlier: str | None, messages: Sequence[Message], *, prompt_tokens: int, summary_tokens: int
) -> tuple[Message, ...]:
    """What is asked for one of *messages*, which go on after what *earlier* sums up. Of too much, the end counts."""
    wish = _WISH.format(max(summary_tokens * 2 // 3, 20))
    text = _transcript(earlier, messages, prompt_tokens * BYTES_PER_TOKEN)
    return Message(Role.SYSTEM, (Text(text=wish),)), Message(Role.USER, (Text(text=text),))


def cleaned(reply: str, summary_tokens: int) -> str:
    """Without what was thought first, and not longer than was asked for. Empty: it is none."""
    return reply.rpartition(_ENDS_THOUGHT)[2].strip()[: summary_tokens * CHARS_PER_TOKEN].strip()


def _transcript(earlier: str | None, messages: Sequence[Message], limit_chars: int) -> str:
    first = [] if earlier is None else [f"(Before that:) {earlier}"]
    left = limit_chars - sum(map(len, first))
    lines: list[str] = []
    for message in reversed(list(told(messages))):
        line = f"{_SPEAKERS[message.role]}: {_clipped(_words(message.parts), limit_chars // LONGEST_SHARE)}"
        left -= len(line) + 1
        if left < 0:
            break
        lines.append(line)
    return "\n".join([*first, *reversed(lines)])


def _words(parts: Iterable[Part]) -> str:
    said: list[str] = []
    for part in parts:
        match part:
            case Text(text=text) | Refusal(text=text):
                said.append(text)
            case Image():
                said.append("(a picture)")
            case File(name=name):
                said.append(f"(a file: {name})" if name else "(a file)")
            case _:
                pass
    return " ".join(said)


def _clipped(text: str, limit_chars: int) -> str:
    """Its beginning and its end."""
    if len(text) <= limit_chars:
        return text
    head = limit_chars * 2 // 3
    return f"{text[:head]} ... {text[len(text) - (limit_chars - head) :]}"
