"""Items that a request only refers to by their ids, found among the turns of its session. Pure.

Source: OpenAI's Responses, whose ``item_reference`` some clients send in place of what was said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from moltbot_edge.core import items, response_id
from moltbot_edge.core.chat import ChatRequest, Message, Own
from moltbot_edge.core.errors import UnknownItem
from moltbot_edge.core.items import Item
from moltbot_edge.core.session import Turn

REFERENCE: Final = "item_reference"  # the kind of an `Own` whose text is the id

Found = Mapping[tuple[str, str], Item]


def resolved(request: ChatRequest, session: str, turns: Sequence[Turn]) -> ChatRequest:
    """*request*, with what it refers to. *turns* are all of *session*, as it is kept. Raises `UnknownItem`."""
    if not request.refers:
        return request
    gone = items.removed(turns)
    known = {
        (turn.id, one.key): one
        for turn in turns
        if turn.id not in gone
        for one in items.items(turn)
        if items.mark(turn.id, one.key) not in gone
    }
    return replace(request, messages=tuple(_resolved(request.messages, session, known)), refers=False)


def _resolved(messages: Sequence[Message], session: str, known: Found) -> Iterator[Message]:
    for message in messages:
        reference = _reference(message)
        if reference is None:
            yield message
            continue
        where = response_id.read_item(reference)
        item = known.get(where[1:]) if where is not None and where[0] == session else None
        if item is None:
            raise UnknownItem(f"Item with id {reference[:256]!r} not found.", param="input")
        yield Message(item.role, item.parts, item.name)


def is_reference(message: Message) -> bool:
    return _reference(message) is not None


def _reference(message: Message) -> str | None:
    match message.parts:
        case (Own(kind="item_reference", raw=raw),):
            return str(msgspec.json.decode(raw))
    return None
