"""A turn written down and read again. Not how a store packs it, nor where.

MessagePack for stores, JSON lines for people and other gateways; of the same fields, those at their default left out.
A reader takes what a later version added for nothing, and refuses what says that it cannot be understood so.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any, Final

import msgspec

from moltbot_edge.core.chat import File, Image, Message, Own, Reasoning, Refusal, Role, Text, Tool, ToolCall, ToolResult
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.events import Usage
from moltbot_edge.core.reply import FinishReason
from moltbot_edge.core.session import Cut, Turn, checked_name, is_id

VERSION: Final = 1
LINES: Final = "application/jsonl"
LARGEST_NUMBER: Final = 1e11  # seconds: the year 5138; beyond it an id would not sort


class Unreadable(ValueError):
    """No record, or one of a later version."""


class _Message(msgspec.Struct):
    role: Role
    # `Message` itself says only `Part`, which is all of them and none.
    parts: tuple[Text | Refusal | Image | File | Reasoning | ToolCall | ToolResult | Own, ...]
    name: str | None = None


class _Turn(msgspec.Struct, kw_only=True):
    """`Turn` as it is read."""

    id: str
    at: float
    messages: tuple[_Message, ...]
    reply: _Message
    parent: str | None = None
    system: tuple[_Message, ...] | None = None
    tools: tuple[Tool, ...] | None = None
    model: str = ""
    deployment: str = ""
    dialect: str = ""
    finish: FinishReason = FinishReason.STOP
    usage: Usage | None = None
    dropped: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None
    removed: tuple[str, ...] = ()
    cut: Cut | None = None


class _Head(msgspec.Struct, kw_only=True):
    """The first line of an export."""

    moltbot_session: int
    session: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Turn).decode
_read_turn = msgspec.json.Decoder(_Turn).decode
_read_object = msgspec.json.Decoder(dict[str, Any]).decode
_read_head = msgspec.json.Decoder(_Head).decode


def written(turn: Turn) -> bytes:
    return bytes([VERSION]) + _encode(turn)


def read(record: bytes) -> Turn:
    """Raises `Unreadable`."""
    if record[:1] != bytes([VERSION]):
        raise Unreadable(f"of version {record[0] if record else 'none'}, and this program reads {VERSION}")
    try:
        return _whole(_decode(memoryview(record)[1:]))
    except UNREADABLE as error:
        raise Unreadable(str(error)) from error


def lines(name: str, turns: Iterable[Turn]) -> Iterable[bytes]:
    """A session as JSON lines: what it is, then each turn."""
    yield msgspec.json.encode(_Head(moltbot_session=VERSION, session=name)) + b"\n"
    for turn in turns:
        yield msgspec.json.encode(turn) + b"\n"


def from_lines(text: bytes | bytearray) -> tuple[str, tuple[Turn, ...]]:
    """The session's name and its turns. Raises `InvalidRequest` that says which line is wrong, and how."""
    found: list[Turn] = []
    head: _Head | None = None
    known: set[str] = set()
    for number, line in enumerate(_split(text), 1):
        if not line.strip():
            continue
        try:
            if head is None:
                head = _read_head(line)
                if head.moltbot_session != VERSION:
                    raise Unreadable(f"of version {head.moltbot_session}, and this program reads {VERSION}")
                checked_name(head.session)
                continue
            turn = _whole(_read_turn(line))
            _check(turn, known)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Unreadable) as error:
            raise InvalidRequest(f"line {number} of the import: {error}") from error
        known.add(turn.id)
        found.append(turn)
    if head is None or not found:
        raise InvalidRequest("nothing to import: expected a line with `moltbot_session`, then a line for each turn")
    return head.session, tuple(found)


def _split(text: bytes | bytearray) -> Iterator[bytes | bytearray]:
    """Line by line: all of them at once would be the text once more."""
    begin = 0
    while begin < len(text):
        end = text.find(b"\n", begin)
        yield text[begin : end if end >= 0 else len(text)]
        begin = end + 1 if end >= 0 else len(text)


def _check(turn: Turn, known: Container[str]) -> None:
    # Of two gateways that went on at once, the later one's turn may have the earlier id.
    if not is_id(turn.id):
        raise Unreadable(f"{turn.id[:40]!r} is no id of a turn")
    if turn.id in known:
        raise Unreadable(f"turn {turn.id} is there twice")
    if turn.parent is not None and turn.parent not in known:
        raise Unreadable(f"turn {turn.id} answers {turn.parent[:40]!r}, which is not there")
    if not 0 <= turn.at < LARGEST_NUMBER:
        raise Unreadable(f"turn {turn.id} was at {turn.at}, which is no time")
    try:  # what goes to an upstream as it is, among what is the gateway's
        for tool in turn.tools or ():
            if tool.parameters is not None:
                _read_object(tool.parameters)
        for message in (*(turn.system or ()), *turn.messages, turn.reply):
            for part in message.parts:
                if isinstance(part, Own):
                    msgspec.json.decode(part.raw)
    except UNREADABLE as error:
        raise Unreadable(f"turn {turn.id} has a tool or a part that should be JSON: {error}") from error


def _whole(turn: _Turn) -> Turn:
    return Turn(
        id=turn.id,
        at=turn.at,
        messages=_messages(turn.messages),
        reply=_message(turn.reply),
        parent=turn.parent,
        system=None if turn.system is None else _messages(turn.system),
        tools=turn.tools,
        model=turn.model,
        deployment=turn.deployment,
        dialect=turn.dialect,
        finish=turn.finish,
        usage=turn.usage,
        dropped=turn.dropped,
        cut=turn.cut,
        metadata=turn.metadata,
        removed=turn.removed,
    )


def _messages(read: Iterable[_Message]) -> tuple[Message, ...]:
    return tuple(map(_message, read))


def _message(read: _Message) -> Message:
    return Message(read.role, read.parts, read.name)
