"""Whose turn it is in a transcript, as a model's template wants it: the system first, and who speaks in a row, once.

A part of `hygiene`, and as pure. Not what belongs to calls of tools, which is in `calls`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from moltbot_edge.core.chat import Message, Part, Role, Text, ToolCall
from moltbot_edge.core.target import Target

UNANSWERED: Final = "(no answer)"  # between two turns of a user's, where a template wants the model's
CONTINUED: Final = "(the conversation goes on)"  # before a model's first turn, where the user's has to be first

# What programs put around such words in a user's message; `core.prompt` knows it too.
REMINDER: Final = ("<system-reminder>\n", "\n</system-reminder>")


class _Run:
    """Messages that become one, with the role and the name of the first. *calls*: one of them calls a tool."""

    def __init__(self, first: Message) -> None:
        self.role = first.role
        self.name = first.name
        self.calls = _calls(first)
        self._first = first
        self._parts: list[Part] = []

    def add(self, message: Message) -> None:
        self.calls = self.calls or _calls(message)
        self._parts += message.parts

    def message(self) -> Message:
        return replace(self._first, parts=(*self._first.parts, *self._parts)) if self._parts else self._first


def _calls(message: Message) -> bool:
    return any(isinstance(part, ToolCall) for part in message.parts)


def in_one(messages: Iterable[Message]) -> Iterator[Message]:
    """What an assistant says and calls in a row, as one: some dialects have an item for each call."""
    run: _Run | None = None
    for message in messages:
        if (
            run is not None
            and run.role is message.role is Role.ASSISTANT
            and (not run.calls or _calls(message))
            and run.name == message.name
        ):
            run.add(message)
            continue
        if run is not None:
            yield run.message()
        run = _Run(message)
    if run is not None:
        yield run.message()


def system_first(messages: Sequence[Message], target: Target) -> Iterator[Message]:
    """All that opens the conversation is one system message; a later one becomes a reminder where it stands.

    To move it to the front would begin the prompt anew at every such message, and much of what is cached were lost.
    """
    opening = 0
    while opening < len(messages) and messages[opening].role is Role.SYSTEM:
        opening += 1
    first = tuple(part for message in messages[:opening] for part in message.parts)
    if first:
        yield Message(Role.SYSTEM, first) if target.system else Message(Role.USER, first)
    for message in messages[opening:]:
        if message.role is not Role.SYSTEM:
            yield message
            continue
        before, after = REMINDER
        parts = tuple(
            replace(part, text=f"{before}{part.text}{after}") if isinstance(part, Text) else part
            for part in message.parts
        )
        yield Message(Role.USER, parts)


def alternating(messages: Iterable[Message], target: Target) -> list[Message]:
    """What one role says in a row is one message, if nobody's name says otherwise; a turn that lacks is put in."""
    turns: list[Message] = []
    run: _Run | None = None
    began = False  # somebody but the system has spoken
    for message in messages:
        if run is not None and _together(run, message, target):
            run.add(message)
            continue
        if run is not None:
            turns.append(run.message())
            if target.alternates and run.role is Role.TOOL and message.role is Role.USER:
                turns.append(Message(Role.ASSISTANT, (Text(text=UNANSWERED),)))
        if not began and message.role is Role.ASSISTANT and (target.user_first or target.alternates):
            turns.append(Message(Role.USER, (Text(text=CONTINUED),)))
        began = began or message.role is not Role.SYSTEM
        run = _Run(message)
    if run is not None:
        turns.append(run.message())
    return turns


def _together(run: _Run, message: Message, target: Target) -> bool:
    if run.role is not message.role or run.role is Role.TOOL or run.calls:
        return False
    return run.name == message.name or target.alternates
