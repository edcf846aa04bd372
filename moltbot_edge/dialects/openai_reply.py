"""What the form of a reply in OpenAI's shape shows: empty, cut off, a tool call that is no JSON. Pure.

Reads every event, which a relay otherwise does not; only replies from which a policy learns are looked at so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from moltbot_edge.api import Impression
from moltbot_edge.core import sse
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.verdict import ID_CHARS

JUDGED_BYTES: Final = 256 * 1024  # of a whole reply, or of a stream's tool calls; more is not judged
MOST_CALLS: Final = 64


class _Function(msgspec.Struct):
    arguments: msgspec.Raw = msgspec.Raw(b"")


class _Call(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    """A message, or a stream's piece of one. A refusal is words too."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: Sequence[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _Said | None = None
    delta: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Reply(msgspec.Struct):
    id: str | None = None
    choices: Sequence[_Choice] | None = None


_reply = msgspec.json.Decoder(_Reply).decode
_text = msgspec.json.Decoder(str).decode
_any = msgspec.json.Decoder(msgspec.Raw).decode


class _Observer:
    """Of several choices the first to come counts: they are the same model's."""

    def __init__(self) -> None:
        self.reply_id: str | None = None
        self._judged = True
        self._is_chat = False
        self._has_words = False
        self._finish: str | None = None
        self._calls: dict[int, list[str]] = {}
        self._calls_bytes = 0

    def impression(self) -> Impression | None:
        if not self._judged or not self._is_chat:
            return None
        broken = any(not _is_json("".join(pieces)) for pieces in self._calls.values())
        return Impression(
            empty=not self._has_words and not self._calls,
            cut_off=self._finish == "length",
            broken_call=broken and self._finish != "length",
        )

    def _see(self, data: bytes) -> None:
        try:
            reply = _reply(data)
        except UNREADABLE:
            return
        if reply.id is not None and self.reply_id is None and len(reply.id) <= ID_CHARS:
            self.reply_id = reply.id
        if not reply.choices:
            return
        self._is_chat = True
        choice = reply.choices[0]
        self._finish = choice.finish_reason or self._finish
        said = choice.message or choice.delta
        words = choice.text or (said and (said.content or said.refusal)) or ""
        if not self._has_words and words.strip():
            self._has_words = True
        if said is not None and said.tool_calls:
            for place, call in enumerate(said.tool_calls):
                self._keep(place if call.index is None else call.index, call)

    def _keep(self, index: int, call: _Call) -> None:
        raw = bytes(call.function.arguments) if call.function is not None else b""
        self._calls_bytes += len(raw)
        pieces = self._calls.setdefault(index, [])
        if self._calls_bytes > JUDGED_BYTES or len(self._calls) > MOST_CALLS:
            self._judged = False
            self._calls.clear()
        elif raw[:1] == b'"':
            try:
                pieces.append(_text(raw))
            except UNREADABLE:  # an escape that is no character
                pieces.append("\0")
        # Else an object, as some upstreams have it, or null: nothing of it can be broken.


class StreamObserver(_Observer):
    def feed(self, data: bytes) -> None:
        if self._judged:
            for one in sse.data_of(data):
                self._see(one)


class WholeObserver(_Observer):
    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > JUDGED_BYTES:
            self._judged = False
            self._pieces.clear()
        if self._judged:
            self._pieces.append(data)

    def impression(self) -> Impression | None:
        if self._pieces:
            self._see(b"".join(self._pieces))
            self._pieces.clear()
        return super().impression()


def _is_json(text: str) -> bool:
    try:
        _any(text or "{}")
    except UNREADABLE:
        return False
    return True
