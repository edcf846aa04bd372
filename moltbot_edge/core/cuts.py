"""Where a kept conversation may be cut, and where it is: places among its messages. A part of `fitting`, and as pure.

A call of a tool is never parted from its result. Whole turns leave first; inside of one long run of tool calls, calls
with their results do, and the question that all of it is about stays.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

import msgspec

from moltbot_edge.core import tokens
from moltbot_edge.core.chat import Message, Role, ToolCall, ToolResult
from moltbot_edge.core.session import Cut, Turn


class Size(msgspec.Struct, frozen=True):
    """Of a turn, in estimated tokens: of each of its *messages*, the reply the last of them; *asked* without the reply.

    *plain*: there is nothing in it but text.
    """

    messages: tuple[int, ...]
    asked: int
    total: int
    plain: bool


class Place(msgspec.Struct, frozen=True):
    """What goes begins with message *begins*, and *question*, which stands before it, goes too."""

    begins: int = 0
    question: int | None = None


Prompt = Callable[[int, bool], int]  # likely tokens, of so many that were said before, and whether that is all


def said(turn: Turn) -> tuple[Message, ...]:
    return (*turn.messages, turn.reply) if turn.reply.parts else turn.messages


def size_of(turn: Turn, *, thoughts: bool = False) -> Size:
    every = said(turn)
    each = tuple(tokens.of_message(message, thoughts=thoughts) for message in every)
    return Size(each, sum(each[: len(turn.messages)]), sum(each), all(map(tokens.is_plain, every)))


def starts_of(turns: Sequence[Turn]) -> dict[str, int]:
    """The place of each turn's first message."""
    starts, at = {}, 0
    for turn in turns:
        starts[turn.id] = at
        at += len(turn.messages) + bool(turn.reply.parts)
    return starts


def place_of(cut: Cut, starts: dict[str, int]) -> int:
    """0 for that of another path, or of a turn that was lost."""
    return starts[cut.turn] + cut.messages if cut.turn in starts else 0


def questions(every: Sequence[Message]) -> list[int | None]:
    """Of each place, the last message of a user's before it."""
    found: list[int | None] = [None]
    for place, message in enumerate(every):
        found.append(place if message.role is Role.USER else found[-1])
    return found


class Path:
    """All messages of *turns* in a row, and *new* ones after them."""

    def __init__(self, turns: Sequence[Turn], sizes: Sequence[Size], new: Sequence[Message]) -> None:
        self._turns = turns
        self._starts = starts_of(turns)
        self._firsts = list(self._starts.values())
        self._every = [message for turn in turns for message in said(turn)]
        self._sizes = [one for of_turn in sizes for one in of_turn.messages]
        self._sums = [0, *accumulate(self._sizes)]
        self._end = len(self._every)
        self._questions = questions(self._every)
        self._whole = _whole([*self._every, *new], self._end)

    def held(self, window_tokens: int) -> Place:
        """The furthest that it was cut for a window no smaller: what did not fit there does not fit here."""
        furthest, question = 0, False
        for turn in self._turns:
            if turn.cut is not None and turn.cut.window_tokens >= window_tokens:
                at = self._place(turn.cut)
                if at and at >= furthest:
                    furthest, question = at, turn.cut.question
        return Place(furthest, self._questions[furthest] if question else None)

    def kept(self, place: Place) -> int:
        return self._sums[-1] - self.left_out(place)

    def left_out(self, place: Place) -> int:
        return self._sums[place.begins] - (0 if place.question is None else self._sizes[place.question])

    def left_out_by(self, cut: Cut) -> int:
        at = self._place(cut)
        return self.left_out(Place(at, self._questions[at] if cut.question else None))

    def left_out_turns(self, place: Place) -> int:
        return bisect_left(self._firsts, place.begins)

    def cut(self, place: Place, window_tokens: int) -> Cut:
        turn = bisect_right(self._firsts, place.begins - 1) - 1
        inside = place.begins - self._firsts[turn]
        return Cut(window_tokens, self._turns[turn].id, inside, place.question is not None)

    def _place(self, cut: Cut) -> int:
        """Among these messages, whatever somebody imported, or took out of the turn."""
        return max(0, min(place_of(cut, self._starts), self._end))

    def shortened(self, place: Place, prompt: Prompt, full: int, afterwards: int) -> Place:
        """Further on than *place*, down to *afterwards* tokens or at least *full*; less where that cannot be had."""

        def tokens_at(begins: int, question: int | None = None) -> int:
            return prompt(self.kept(Place(begins, question)), False)

        later = self._firsts[bisect_right(self._firsts, place.begins) :]
        turns = [begins for begins in dict.fromkeys(later) if begins < self._end and self._whole[begins]]
        for begins in turns:
            if tokens_at(begins) <= afterwards:
                return Place(begins)
        if turns and tokens_at(turns[-1]) <= full:
            return Place(turns[-1])  # the last turn is worth more than the room that it takes

        last = turns[-1] if turns else place.begins
        inside = [begins for begins in range(last + 1, self._end) if self._whole[begins]]
        about = [
            Place(begins, question)
            for begins in inside
            if (question := self._questions[begins]) is not None
            and (question >= place.begins or question == place.question)  # what was left out does not come back
        ]
        for most in (afterwards, full):
            for one in about:
                if tokens_at(one.begins, one.question) <= most:
                    return one
        if self._whole[self._end]:
            return Place(self._end)
        for most in (afterwards, full):
            for begins in inside:
                if tokens_at(begins) <= most:
                    return Place(begins)
        return Place(inside[-1]) if inside else Place(last) if turns else place


def _whole(every: Sequence[Message], end: int) -> list[bool]:
    """Of each place up to *end*, whether no call is parted from its result there."""
    parted = [0] * (end + 2)
    called: dict[str, int] = {}
    for place, message in enumerate(every):
        for part in message.parts:
            match part:
                case ToolCall(id=id):
                    called[id] = place
                case ToolResult(id=id) if (call := called.pop(id, end)) < end:
                    parted[call + 1] += 1
                    parted[min(place, end) + 1] -= 1
                case _:
                    pass
    return [not over for over in accumulate(parted)][: end + 1]
