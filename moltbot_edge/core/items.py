"""A turn as items: each thing that was said by itself, with a key by which it can be asked for. OpenAI's word and way.

Words that follow each other are one item, and so is a message of the caller's; a thought, a call and a result are one
each. Keys count them from 0: of what the caller said ``i0``, ``i1``, of the reply ``0``, ``1``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate

import msgspec

from moltbot_edge.core.chat import Message, Own, Part, Reasoning, Role, ToolCall, ToolResult
from moltbot_edge.core.session import Cut, Turn


class Item(msgspec.Struct, frozen=True):
    key: str
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


def items(turn: Turn) -> list[Item]:
    """In the order in which they were said."""
    asked = [one for message in turn.messages for one in _split(message)]
    replied = list(_split(turn.reply))
    return [
        *(Item(f"i{number}", role, parts, name) for number, (role, parts, name) in enumerate(asked)),
        *(Item(str(number), role, parts, name) for number, (role, parts, name) in enumerate(replied)),
    ]


def mark(turn: str, key: str) -> str:
    """How an item is named in `Turn.removed`."""
    return f"{turn}_{key}"


def removed(turns: Sequence[Turn]) -> frozenset[str]:
    """All that was taken out of a session: turns by their ids, items by their `mark`."""
    return frozenset(gone for turn in turns for gone in turn.removed)


def standing(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """*turns* without what was taken out of them. A turn that was is still there, and says nothing.

    Nor does a summary that may say it, and a place that was counted with it is none any more; those of later turns are.
    """
    gone = removed(turns)
    if not gone:
        return tuple(turns)
    of_turns = {one.partition("_")[0] for one in gone}
    takers = sorted((turn.id, min(one.partition("_")[0] for one in turn.removed)) for turn in turns if turn.removed)
    whose = [taker for taker, _ in takers]
    firsts = [*accumulate((first for _, first in reversed(takers)), min)][::-1]  # from each of them on
    found = (_left(turn, gone) if turn.id in of_turns else turn for turn in turns)
    return tuple(
        msgspec.structs.replace(turn, cut=None)
        if turn.cut is not None and _is_stale(turn.id, turn.cut, whose, firsts)
        else turn
        for turn in found
    )


def _is_stale(turn: str, cut: Cut, takers: Sequence[str], firsts: Sequence[str]) -> bool:
    """Whether something that *cut* leaves out was taken out after *turn* had begun."""
    later = bisect_right(takers, turn)
    return later < len(takers) and cut.turn >= firsts[later]


def _left(turn: Turn, gone: Collection[str]) -> Turn:
    left = [] if turn.id in gone else [one for one in items(turn) if mark(turn.id, one.key) not in gone]
    said = tuple(Message(one.role, one.parts, one.name) for one in left if one.key.startswith("i"))
    replied = tuple(part for one in left if not one.key.startswith("i") for part in one.parts)
    return msgspec.structs.replace(
        turn,
        messages=said,
        reply=Message(turn.reply.role, replied, turn.reply.name),
        deployment="" if turn.id in gone else turn.deployment,
    )


def _split(message: Message) -> Iterator[tuple[Role, tuple[Part, ...], str | None]]:
    if message.role in (Role.USER, Role.SYSTEM):
        yield message.role, message.parts, message.name
        return
    words: list[Part] = []
    for part in message.parts:
        match part:
            case Reasoning() | ToolCall() | ToolResult() | Own():
                if words:
                    yield message.role, tuple(words), message.name
                    words = []
                yield message.role, (part,), message.name
            case _:
                words.append(part)
    if words:
        yield message.role, tuple(words), message.name
