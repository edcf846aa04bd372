"""What engines of this board are sent, made the same from turn to turn wherever that changes nothing of its meaning.

An engine reads again whatever comes after the first token that is not as before. Some clients write the keys of a
tool in another order each time, or the list of tools, or make up new ids for old tool calls. What was sent first is
then what is sent again: a client that is steady is passed on byte for byte, in an order that it chose itself (models
fill in a tool's fields in the order in which they stand).
"""

from __future__ import annotations

import hashlib
from binascii import crc32

import msgspec

from moltbot_edge.core import prefixes
from moltbot_edge.core.decoding import UNREADABLE

KEPT_TOOLS_BYTES = 512 * 1024  # of one engine: some twenty clients with forty tools each
KEPT_IDS = 2048
LEAST_ID_CHARS = 8  # a shorter one may stand for something else; made-up ones are longer

_EMPTY = msgspec.Raw(b"")


class _Wire(msgspec.Struct):
    """Only what comes before the reply in an engine's prompt. Kept undecoded."""

    messages: msgspec.Raw = _EMPTY
    prompt: msgspec.Raw = _EMPTY
    tools: msgspec.Raw = _EMPTY
    chat_template_kwargs: msgspec.Raw = _EMPTY
    cache_prompt: bool | None = None


class _Function(msgspec.Struct):
    name: str = ""
    arguments: msgspec.Raw = _EMPTY


class _Call(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    tool_calls: list[_Call] | None = None


_read = msgspec.json.Decoder(_Wire).decode
_read_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_message = msgspec.json.Decoder(_Message).decode
_read_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Renderings:
    """What one engine was sent first, of each list of tools and each tool call. The oldest is forgotten first."""

    def __init__(self, tools_bytes: int = KEPT_TOOLS_BYTES, ids: int = KEPT_IDS) -> None:
        self._limit_bytes = tools_bytes
        self._limit_ids = ids
        self._held_bytes = 0
        self._first: dict[bytes, bytes] = {}  # what a list means -> as it was written first
        self._meanings: dict[bytes, bytes] = {}  # a list as it was written -> what it means
        self._ids: dict[bytes, str] = {}

    def of(self, body: bytes | bytearray) -> bytes | bytearray:
        """*body*, itself where there is nothing to be done, and where it is not to be read."""
        # A key's quotes are bare; inside a string they would be escaped. So most bodies need no decoding.
        tools, calls = b'"tools"' in body, b'"tool_calls"' in body
        if not tools and not calls:
            return body
        try:
            if tools:
                body = self._with_first_tools(body)
            if calls:
                body = self._with_first_ids(body)
        except UNREADABLE:  # the engine will say what is wrong with it
            pass
        return body

    def _with_first_tools(self, body: bytes | bytearray) -> bytes | bytearray:
        written = bytes(_read(body).tools)
        if not written:
            return body
        as_written = hashlib.sha256(written).digest()
        meaning = self._meanings.get(as_written)
        if meaning is None:
            self._meanings[as_written] = meaning = _meaning(written)
            _forget(self._meanings, self._limit_ids)
        first = self._first.pop(meaning, None)
        if first is None:
            first = written
            self._held_bytes += len(first)
        self._first[meaning] = first
        while self._held_bytes > self._limit_bytes:
            self._held_bytes -= len(self._first.pop(next(iter(self._first))))
        if first == written:
            return body
        fields = _read_fields(body)
        fields["tools"] = msgspec.Raw(first)
        return msgspec.json.encode(fields)

    def _with_first_ids(self, body: bytes | bytearray) -> bytes | bytearray:
        """A call is known by what was said before the first one, by its place, what it calls, and its id's form.

        Clients make up ids of one form. One of another may be what this model's template refuses.
        """
        told = hashlib.sha256()
        began = False
        place = 0
        ids: set[str] = set()
        new_ids: dict[str, str] = {}
        for message in _read_list(_read(body).messages):
            calls = (_read_message(message).tool_calls or ()) if b'"tool_calls"' in bytes(message) else ()
            if calls:
                began = True
            elif not began:
                told.update(message)
            for call in calls:
                place += 1
                if call.function is None or call.id is None or len(call.id) < LEAST_ID_CHARS:
                    continue
                one = told.copy()
                one.update(f"{place} {len(call.id)} {call.id.isalnum()} {call.function.name} ".encode())
                one.update(call.function.arguments)
                first = self._ids.setdefault(one.digest(), call.id)
                ids.add(call.id)
                if first != call.id:
                    new_ids[call.id] = first
        _forget(self._ids, self._limit_ids)
        if not ids.isdisjoint(new_ids.values()):  # two calls would become one
            return body
        for new, first in new_ids.items():  # with its quotes it is a whole string, for those inside one are escaped
            body = body.replace(msgspec.json.encode(new), msgspec.json.encode(first))
        return body


def text(body: bytes | bytearray) -> memoryview:
    """What an engine will read of *body*, undecoded and without its last bracket: the messages, or the prompt."""
    try:
        wire = _read(body)
    except UNREADABLE:
        return memoryview(b"")
    return memoryview(wire.messages or wire.prompt)[:-1]


def trail(body: bytes | bytearray) -> tuple[int, ...]:
    """Of `prefixes.trail`: a mark for each message, and of a completion's prompt one for each of its lengths.

    Empty where there is nothing to be marked, and where the caller wants no cache.
    """
    try:
        wire = _read(body)
        messages = _read_list(wire.messages) if wire.messages else []
    except UNREADABLE:
        return ()
    if wire.cache_prompt is False:
        return ()
    seed = crc32(wire.chat_template_kwargs, crc32(wire.tools))
    if messages:
        return prefixes.trail([memoryview(one) for one in messages], seed)
    prompt = memoryview(wire.prompt)
    ends = [end for end in prefixes.LENGTHS if end < len(prompt)]
    return prefixes.trail([prompt[begin:end] for begin, end in zip([0, *ends], ends, strict=False)], seed)


def _meaning(tools: bytes) -> bytes:
    """The same for each order of the tools and of their keys. Any other list stays: its order may mean something."""
    found = msgspec.json.decode(tools)
    if not isinstance(found, list):
        return hashlib.sha256(tools).digest()
    each = sorted(msgspec.json.encode(tool, order="sorted") for tool in found)
    return hashlib.sha256(b"\n".join(each)).digest()


def _forget(known: dict[bytes, bytes] | dict[bytes, str], limit: int) -> None:
    while len(known) > limit:
        del known[next(iter(known))]
