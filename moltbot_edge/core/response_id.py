"""The ids of OpenAI's Responses, as this gateway gives them: a session's name and a turn's id, so nobody looks one up.

A response is ``resp_TURN_SESSION``; what it says and was told has ``msg_``, ``fc_``, ``fco_`` or ``rs_`` before the
same, and its place behind. A name that a URL would not take as it is stands there in base64, behind a hyphen.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.session import ID_CHARS, checked_name, is_id

RESPONSE: Final = "resp_"
CONVERSATION: Final = "conv_"
_bare = re.compile(r"[A-Za-z0-9_-]+").fullmatch
_of_an_item = re.compile(r"[a-z]+_(.+)_(i?[0-9]{1,9})", re.DOTALL).fullmatch


def written(session: str, turn: str) -> str:
    return RESPONSE + place(session, turn)


def read(id: str) -> tuple[str, str] | None:
    """The session's name and the turn's id; None for an id of somebody else's."""
    return _of_place(id.removeprefix(RESPONSE)) if id.startswith(RESPONSE) else None


def place(session: str, turn: str) -> str:
    """What all ids of a turn have in them."""
    if _bare(session):
        return f"{turn}_{session}"
    return f"{turn}-{base64.urlsafe_b64encode(session.encode()).decode().rstrip('=')}"


def of_item(kind: str, session: str, turn: str, key: str) -> str:
    """*kind* is ``msg`` or such; *key* is of `core.items`."""
    return f"{kind}_{place(session, turn)}_{key}"


def read_item(id: str) -> tuple[str, str, str] | None:
    """The session's name, the turn's id and the item's key, as `read`."""
    found = _of_an_item(id)
    if found is None:
        return None
    where = _of_place(found[1])
    return None if where is None else (*where, found[2])


def conversation(made: str) -> str:
    """A conversation's id, which is its session's name. *made* is as a turn's id: nobody guesses it."""
    return CONVERSATION + made


def may_be_a_session(id: str) -> bool:
    """False for a conversation's id that is another provider's."""
    return not id.startswith(CONVERSATION) or is_id(id.removeprefix(CONVERSATION))


def _of_place(text: str) -> tuple[str, str] | None:
    turn, mark, rest = text[:ID_CHARS], text[ID_CHARS : ID_CHARS + 1], text[ID_CHARS + 1 :]
    if not is_id(turn) or mark not in ("_", "-") or not rest:
        return None
    try:
        session = rest if mark == "_" else base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4)).decode()
        checked_name(session)
    except (binascii.Error, UnicodeError, InvalidRequest):
        return None
    return (session, turn) if place(session, turn) == text else None  # there is one id for each
