"""What a request to OpenAI's Responses says of its being kept: where it goes on, and whether it is added there. Pure.

Source: OpenAI's API reference. What is said without ``store`` is kept, as its clients rely on. An id that is not ours
is another provider's, which may know it: that request stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from moltbot_edge.core import response_id
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.head import Head

if TYPE_CHECKING:
    from moltbot_edge.dialects.openai_responses import KeepingWire

REFERENCE: Final = b'"item_reference"'  # inside a text the quotes would be escaped


class _Item(msgspec.Struct):
    type: str | None = None
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
    referred = _session_of_items(body) if REFERENCE in body else None
    if referred is not None:
        return replace(_going_on(head, referred, "input"), inherits=False)
    return replace(head, keeps=True, unasked=wire.store is None)


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
    """Whose the last item is that the request refers to, where that is one of ours."""
    try:
        items = _items(body).input
    except UNREADABLE:
        return None
    for item in reversed(items):
        if item.type == "item_reference" and item.id is not None:
            found = response_id.read_item(item.id)
            return None if found is None else found[0]
    return None
