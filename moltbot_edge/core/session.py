"""A kept conversation, as values: turns, each with the one before it, and so a tree. Not where it is kept: `store`.

Nothing in it ever changes; a conversation goes on by one more turn, and that is where it stands then: its leaf. A
question that is asked again is a branch. What a caller sends is put on a turn by `joining`; `record` writes it down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from moltbot_edge.core.chat import Message, Role, Tool
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.events import Usage
from moltbot_edge.core.reply import FinishReason

NAME_CHARS: Final = 128  # a UUID has 36; clients put a user and a project before it
NOTHING: Final = Message(Role.ASSISTANT, ())  # the reply of a turn that has none, or none yet
CHANCE_BYTES: Final = 10  # 80 bits: a turn's id is an address for whoever knows it
ID_CHARS: Final = 26

_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, whose order is that of ASCII
_BASE: Final = len(_DIGITS)
_CHANCE_BITS: Final = 8 * CHANCE_BYTES
_TIME_CHARS: Final = ID_CHARS - _CHANCE_BITS // 5
_TO_PYTHONS: Final = str.maketrans(_DIGITS, "0123456789abcdefghijklmnopqrstuv")  # for its `int`
_PAIRS: Final = tuple(one + other for one in _DIGITS for other in _DIGITS)
_is_visible = re.compile(r"[!-~]*").fullmatch  # ASCII without a space
_PLACES: Final = range(5 * ID_CHARS - 10, -1, -10)


class Cut(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a turn's model was not sent of what came before, so that it fitted into a window of *window_tokens*.

    All up to the turn with the id *turn*, and of that one's messages, its reply the last of them, the first *messages*;
    but with *question*, not the last of a user's among them. *summary* stands in their place, where it was made for
    this turn.
    """

    window_tokens: int
    turn: str
    messages: int
    question: bool = False
    summary: str | None = None


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request and its reply. *at* is seconds since 1970, *parent* the turn that it answers, None at the beginning.

    *messages* are what the caller added, without the *system* text that opens a conversation. *system* and *tools*
    are None where they are those of the turn before. *model* is the alias that was asked for, *dialect* the caller's.

    A turn may be the caller's alone: what it put there without a question, or *metadata* of the whole conversation, or
    what was *removed* (see `items`). Then its *reply* says nothing.
    """

    id: str
    at: float
    messages: tuple[Message, ...]
    reply: Message
    parent: str | None = None
    system: tuple[Message, ...] | None = None
    tools: tuple[Tool, ...] | None = None
    model: str = ""
    deployment: str = ""
    dialect: str = ""
    finish: FinishReason = FinishReason.STOP
    usage: Usage | None = None
    dropped: tuple[str, ...] = ()
    metadata: Mapping[str, str] | None = None
    removed: tuple[str, ...] = ()
    cut: Cut | None = None

    @property
    def answered(self) -> bool:
        return bool(self.deployment or self.reply.parts)


class Kept(msgspec.Struct, frozen=True):
    """A session as a store has it: its *turns* in the order in which they came, and what they take in memory.

    *unread* is the id of its last turn where that one is damaged.
    """

    turns: tuple[Turn, ...]
    size_bytes: int = 0
    unread: str | None = None

    @property
    def leaf(self) -> str | None:
        return self.turns[-1].id if self.turns else None

    @property
    def stands(self) -> str | None:
        """The turn after which its store takes the next one: the leaf, or what cannot be read behind it."""
        return self.unread or self.leaf


def path(turns: Sequence[Turn], end: str | None) -> tuple[Turn, ...]:
    """From the first turn to the one whose id is *end*. A turn that was lost cuts off what came before it."""
    found: list[Turn] = []
    for turn in reversed(turns):  # a parent comes before
        if turn.id == end:
            found.append(turn)
            end = turn.parent
    return tuple(reversed(found))


def rooted(turns: Iterable[Turn]) -> Iterator[Turn]:
    """*turns* as a session of their own: one whose parent is not among those before it begins anew."""
    known: set[str] = set()
    for turn in turns:
        yield turn if turn.parent is None or turn.parent in known else replace(turn, parent=None)
        known.add(turn.id)


def messages(turns: Sequence[Turn]) -> Iterator[Message]:
    """What was said on a `path`, without the system text."""
    for turn in turns:
        yield from turn.messages
        if turn.reply.parts:
            yield turn.reply


def system(turns: Sequence[Turn]) -> tuple[Message, ...]:
    """What holds at the end of a `path`: what was said last."""
    return next((turn.system for turn in reversed(turns) if turn.system is not None), ())


def tools(turns: Sequence[Turn]) -> tuple[Tool, ...]:
    """As `system`."""
    return next((turn.tools for turn in reversed(turns) if turn.tools is not None), ())


def made_name(made: str) -> str:
    """Of a session that its caller gave no name. *made* is as a turn's id: nobody guesses it."""
    return f"s-{made}"


def is_made_name(name: str) -> bool:
    return name.startswith("s-") and is_id(name[2:])


def made_id(at: float, chance: bytes, after: str | None = None) -> str:
    """An id that sorts by time, and after *after* whatever the clock says; *chance* is `CHANCE_BYTES` of noise."""
    ms = max(0, int(at * 1000))
    if after is not None:
        ms = max(ms, int(after[:_TIME_CHARS].translate(_TO_PYTHONS), _BASE) + 1)
    number = ms << _CHANCE_BITS | int.from_bytes(chance[:CHANCE_BYTES], "big")
    return "".join([_PAIRS[number >> place & 1023] for place in _PLACES])


def is_id(text: str) -> bool:
    return len(text) == ID_CHARS and all(digit in _DIGITS for digit in text)


def checked_name(name: str, param: str = "session") -> str:
    """A session's name as the caller chose it. Raises `InvalidRequest`."""
    if not name or len(name) > NAME_CHARS or not _is_visible(name):
        raise InvalidRequest(
            f"a session's name is 1 to {NAME_CHARS} letters, digits and signs of ASCII without a space, found "
            + (f"{len(name)} of them" if len(name) > NAME_CHARS else repr(name)),
            param=param,
        )
    if name in (".", ".."):
        raise InvalidRequest(f"{name!r} is no name of a session: in an address it is another folder", param=param)
    return name
