"""A reply's events, gathered: the message that was said, to be kept. Bounded; not what a caller is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from moltbot_edge.core.chat import Message, Part, Reasoning, Refusal, Role, Text, ToolCall
from moltbot_edge.core.events import Usage
from moltbot_edge.core.reply import (
    Began,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningSealed,
    RefusalDelta,
    TextDelta,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)

_TEXT: Final = 0
_REFUSAL: Final = 1
_THOUGHT: Final = 2
_SEALED: Final = 3
_CALL: Final = 4


class _Piece(msgspec.Struct):
    kind: int
    said: list[str]
    sealed: ReasoningSealed | None = None
    id: str = ""
    name: str = ""


class Fold:
    """Pieces in the order in which they began. *whole* is False once there was more than *limit_chars*."""

    def __init__(self, limit_chars: int) -> None:
        self.finish = FinishReason.STOP
        self.usage: Usage | None = None
        self.whole = True
        self._left = limit_chars
        self._pieces: list[_Piece] = []
        self._calls: dict[int, _Piece] = {}

    def see(self, events: Sequence[Event]) -> None:
        for event in events:
            kind = type(event)
            if kind is TextDelta:
                self._say(_TEXT, event.text)  # type: ignore[union-attr]
            elif kind is ReasoningDelta:
                self._say(_THOUGHT, event.text)  # type: ignore[union-attr]
            else:
                self._see(event)

    def message(self) -> Message:
        """What it said; a text that is nothing but space at its ends stays as it was."""
        return Message(Role.ASSISTANT, tuple(part for piece in self._pieces if (part := _part(piece)) is not None))

    def _see(self, event: Event) -> None:
        match event:  # what every reply has comes first
            case Began():
                pass
            case UsageSaid(usage):
                self.usage = usage
            case Finished(reason):
                self.finish = reason
            case RefusalDelta(text):
                self._say(_REFUSAL, text)
            case ReasoningSealed():
                last = self._pieces[-1] if self._pieces else None
                if last is None or last.kind is not _THOUGHT:
                    last = _Piece(_THOUGHT, [])
                    self._pieces.append(last)
                last.kind, last.sealed = _SEALED, event
                self._took(len(event.seal))
            case ToolCallBegan(index, id, name):
                if index not in self._calls:
                    self._calls[index] = piece = _Piece(_CALL, [], None, id, name)
                    self._pieces.append(piece)
            case ToolCallDelta(index, arguments):
                if index in self._calls and self._took(len(arguments)):
                    self._calls[index].said.append(arguments)
            case _:
                pass

    def _say(self, kind: int, text: str) -> None:
        if not self._took(len(text)):
            return
        if not self._pieces or self._pieces[-1].kind != kind:
            self._pieces.append(_Piece(kind, []))
        self._pieces[-1].said.append(text)

    def _took(self, chars: int) -> bool:
        self._left -= chars
        if self._left < 0 and self.whole:
            self.whole = False
            self._pieces.clear()
            self._calls.clear()
        return self.whole


def _part(piece: _Piece) -> Part | None:
    text = "".join(piece.said)
    match piece.kind:
        case 0:
            return Text(text=text) if text else None
        case 1:
            return Refusal(text=text)
        case 2:
            return Reasoning(text=text) if text else None
        case 3 if piece.sealed is not None:
            sealed = piece.sealed
            return Reasoning(
                text=text, seal=sealed.seal, origin=sealed.origin, redacted=sealed.redacted, id=sealed.id or None
            )
        case _:
            return ToolCall(id=piece.id, name=piece.name, arguments=text or "{}")
