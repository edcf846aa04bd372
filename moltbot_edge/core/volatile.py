"""What changes from request to request at the beginning of a prompt, moved to where it does no harm. Pure.

A clock or a request's id in the system prompt makes an engine read all of the conversation again at each turn. Nothing
is lost: where a value stood a number stands, and the last message of the user ends with what the numbers stand for. It
does so in the next turns too, when it is no longer the last: else the reply to it would be read again.
Moved is what only a program writes: times of day, UUIDs, and what follows ``current date is`` and the like.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

LOOKED_AT_BYTES = 256 * 1024  # of a message
MOST_VALUES = 32
VALUE_CHARS = 80
KEPT_QUESTIONS = 512  # of one engine; their ends are some 60 bytes each, and 4 KiB at most

_TIME = r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)\b)?"
_UUID = r"\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b"
_NOW = (
    r"\b(?:current (?:local |system |utc )?(?:date(?: ?(?:and|/|&) ?time)?|time|datetime|day|timestamp)"
    r"|today(?:'s date)?)(?: is| ?[:=])[ \t]*"
)
# A day as people write it goes on over dots between digits, and ends with the sentence, the line or the tag.
_DAY = rf"(?P<day>(?:[^\n.;<\[\]]|\.(?=\d)){{1,{VALUE_CHARS}}})"
_VOLATILE = re.compile(rf"{_TIME}|{_UUID}|(?P<now>{_NOW}){_DAY}", re.IGNORECASE)
# The same in JSON's bytes, and no more than a hint: most messages need no more than this.
_HINT = re.compile(rb"\d-\d\d[T ]\d\d:|-[0-9A-Fa-f]{4}-|[Cc](?:urrent|URRENT) |[Tt](?:oday|ODAY)")


Content = str | list[dict[str, Any]]


class _Wire(msgspec.Struct):
    messages: msgspec.Raw = msgspec.Raw(b"")


class _Role(msgspec.Struct):
    role: str = ""


_read = msgspec.json.Decoder(_Wire).decode
_read_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_role = msgspec.json.Decoder(_Role).decode
_read_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_content = msgspec.json.Decoder(Content).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Mover:
    """What one engine was sent: a question that has become an earlier one is sent as it was, with what it ended with.

    The oldest is forgotten first.
    """

    def __init__(self, questions: int = KEPT_QUESTIONS) -> None:
        self._limit = questions
        self._ends: dict[bytes, str] = {}  # of what was the last question once, by it and all before it

    def moved(self, body: bytes | bytearray) -> bytes | bytearray:
        """*body* with what changes moved from system prompts and the first question to the last message of the user.

        *body* itself where nothing does, where there is no message to move it to, or where it is not to be read.
        """
        try:
            before = _read_list(_read(body).messages)
            roles = [_read_role(message).role for message in before]
            if "user" not in roles:
                return body
            messages = self._steady(before, roles)
            if messages == before:
                return body
            fields = _read_fields(body)
        except _UNREADABLE:
            return body
        fields["messages"] = msgspec.Raw(msgspec.json.encode(messages))
        return msgspec.json.encode(fields)

    def _steady(self, before: Sequence[msgspec.Raw], roles: Sequence[str]) -> list[msgspec.Raw]:
        first, last = roles.index("user"), len(roles) - 1 - roles[::-1].index("user")
        values: dict[str, int] = {}
        messages = []
        told = hashlib.sha256()
        for place, message in enumerate(before):
            end = ""
            if place < last and roles[place] in ("system", "developer"):
                message = _without(message, values)
            elif place < last and roles[place] == "user":
                known = self._ends.get(_after(told, message))
                if known is None and place == first:
                    message = _without(message, values)
                end = known or ""
            elif place == last:
                end = _end(values)
                if end or _HINT.search(message, 0, LOOKED_AT_BYTES):
                    self._keep(_after(told, message), end)
            told.update(message)
            messages.append(_with(message, end) if end else message)
        return messages

    def _keep(self, question: bytes, end: str) -> None:
        self._ends.pop(question, None)
        self._ends[question] = end
        while len(self._ends) > self._limit:
            del self._ends[next(iter(self._ends))]


def _after(told: hashlib._Hash, message: msgspec.Raw) -> bytes:
    known = told.copy()
    known.update(message)
    return known.digest()


def _without(message: msgspec.Raw, values: dict[str, int]) -> msgspec.Raw:
    """A number in place of each value, which is added to *values*."""

    def number(found: re.Match[str]) -> str:
        now, value = found["now"] or "", found["day"] or found[0]
        kept = value.strip()
        if found["day"] and not any(character.isdigit() for character in kept):
            return found[0]  # "today is a good day"
        if kept not in values and len(values) >= MOST_VALUES:
            return found[0]
        return f"{now}[value {values.setdefault(kept, len(values) + 1)}]"

    if _HINT.search(message, 0, LOOKED_AT_BYTES) is None:
        return message
    fields = _read_fields(message)
    content = _content(fields)
    match content:
        case str():
            said: Content = _VOLATILE.sub(number, content)
        case _:
            said = [part | {"text": _VOLATILE.sub(number, text)} if (text := _text(part)) else part for part in content]
    if said == content:
        return message
    fields["content"] = msgspec.Raw(msgspec.json.encode(said))
    return msgspec.Raw(msgspec.json.encode(fields))


def _end(values: Mapping[str, int]) -> str:
    """What the numbers stand for."""
    told = "; ".join(f"[value {number}] is {value}" for value, number in values.items())
    return f"\n\n(Of what stands above, {told}.)" if told else ""


def _with(message: msgspec.Raw, end: str) -> msgspec.Raw:
    fields = _read_fields(message)
    content = _content(fields)
    match content:
        case str():
            said: Content = content + end
        case _:
            said = [*content, {"type": "text", "text": end}]
    fields["content"] = msgspec.Raw(msgspec.json.encode(said))
    return msgspec.Raw(msgspec.json.encode(fields))


def _content(fields: dict[str, msgspec.Raw]) -> Content:
    content: Content = _read_content(fields.get("content", b'""'))
    return content


def _text(part: dict[str, Any]) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else ""
