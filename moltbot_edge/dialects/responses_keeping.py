"""What a request to OpenAI's Responses says of its being kept: where it goes on, and whether it is added there. Pure.

Source: OpenAI's API reference. What is said without ``store`` is kept, as its clients rely on. An id that is not ours
is another provider's, which may know it: that request stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from moltbot_edge.core import response_id
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.head import BY_ITEMS, Head

if TYPE_CHECKING:
    from moltbot_edge.dialects.openai_responses import KeepingWire


class _Item(msgspec.Struct):
    id: str | None = None


class _Items(msgspec.Struct):
    input: list[_Item]


class _Conversation(msgspec.Struct):
    id: str


_items = msgspec.json.Decoder(_Items).decode
_conversation = msgspec.json.Decoder(str | _Conversation | None).decode


def kept(head: Head, wire: KeepingWire, body: bytes | bytearray) -> Head:
    """*head*, with the session that *body* goes on with, or begins. Raises `InvalidRequest`."""
    named = conversation(wire.conversation)
    if wire.previous_response_id is not None:
        if named is not None:
            raise InvalidRequest(
                "Mutually exclusive parameters: 'conversation' and 'previous_response_id'. Send one of them.",
                param="previous_response_id",
            )
        found = response_id.read(wire.previous_response_id)
        if found is None:
            return head
        session, parent = found
        head = _going_on(head, session, "previous_response_id")
        return replace(head, parent=parent, inherits=False, appends=wire.store is not False)
    if named is not None:
        return _going_on(head, named, "conversation") if response_id.may_be_a_session(named) else head
    if head.session is not None:
        return head
    if wire.store is False:
        return head
    head = replace(head, keeps=True, unasked=wire.store is None)
    whose = _session_of_items(body)
    return head if whose is None else replace(_going_on(head, whose, BY_ITEMS), inherits=False)


def conversation(said: msgspec.Raw) -> str | None:
    """The id in a request's field of that name. Raises `InvalidRequest`."""
    try:
        found = _conversation(said) if bytes(said) else None
    except UNREADABLE as error:
        raise InvalidRequest("a `conversation` is an id, or an object with one", param="conversation") from error
    return found.id if isinstance(found, _Conversation) else found


def _going_on(head: Head, session: str, field: str) -> Head:
    if head.session is not None and head.session != session:
        raise InvalidRequest(f"`session` and `{field}` name two sessions: send one of them", param=field)
    return replace(head, session=session, asked_by=field)


def _session_of_items(body: bytes | bytearray) -> str | None:
    """Where the last item of ours is kept that the request holds, or refers to."""
    try:
        items = _items(body).input
    except UNREADABLE:
        return None
    for item in reversed(items):
        found = None if item.id is None else response_id.read_item(item.id)
        if found is not None:
            return found[0]
    return None
