"""What a reply in the form of OpenAI's Responses lacks, put in: places, numbers, and what a response has to hold.

For servers that leave out what the official clients read without asking; ``llama-server`` is one. Whatever else they
say stays. Source: OpenAI's API reference, where it says that a field is required.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from moltbot_edge.core import sse
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import ReplyHead

Fields = dict[str, Any]

# Of events that have one of these, the part they are of.
_PART: Final = ("response.content_part.", "response.output_text.", "response.refusal.", "response.reasoning_text.")
_SUMMARY: Final = "response.reasoning_summary_"

_object = msgspec.json.Decoder(dict[str, Any]).decode
_json = msgspec.json.encode


class _Whole(msgspec.Struct):
    """A reply as it has to be."""

    id: str
    created_at: float
    model: str
    output: list[msgspec.Raw]
    parallel_tool_calls: bool
    tool_choice: msgspec.Raw
    tools: list[msgspec.Raw]


_whole = msgspec.json.Decoder(_Whole).decode


class Whole:
    def __init__(self, head: ReplyHead) -> None:
        self._head = head

    def mend(self, data: bytes) -> bytes:
        try:
            response = _object(data)
        except UNREADABLE:
            return data
        return _json(_response(response, self._head)) if "output" in response else data

    def end(self) -> bytes:
        return b""


class Stream:
    """Items are counted as they are added; an event says by its item's id where it belongs."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._number = 0
        self._places: dict[str, int] = {}
        self._parts: dict[int, int] = {}

    def mend(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        for one in sse.data_of(data):
            try:
                event = _object(one)
            except UNREADABLE:
                continue  # [DONE], and what no client could read either
            kind = event.get("type")
            if isinstance(kind, str):
                self._mend(kind, event)
                pieces += b"event: ", kind.encode(), b"\n"
            pieces.append(sse.event(_json(event)))
        return b"".join(pieces)

    def end(self) -> bytes:
        return b""

    def _mend(self, kind: str, event: Fields) -> None:
        event["sequence_number"] = self._number
        self._number += 1
        item = event.get("item")
        if isinstance(item, dict):
            _item(item)
            event.setdefault("output_index", self._place(item.get("id")))
        elif isinstance(event.get("item_id"), str):
            event.setdefault("output_index", self._place(event["item_id"]))
        if kind.startswith(_PART):
            place = _whole_number(event.get("output_index"))
            if kind == "response.content_part.added":
                self._parts[place] = self._parts.get(place, -1) + 1
            event.setdefault("content_index", max(self._parts.get(place, 0), 0))
        elif kind.startswith(_SUMMARY):
            event.setdefault("summary_index", 0)
        if kind.startswith("response.output_text."):
            event.setdefault("logprobs", [])
        if isinstance(event.get("part"), dict):
            _part(event["part"])
        if isinstance(event.get("response"), dict):
            event["response"] = _response(event["response"], self._head)

    def _place(self, item_id: object) -> int:
        if not isinstance(item_id, str):
            return max(len(self._places) - 1, 0)
        return self._places.setdefault(item_id, len(self._places))


def mender(streamed: bool, first: bytes, head: Callable[[], ReplyHead]) -> Whole | Stream | None:
    """None where *first* lacks nothing."""
    if streamed:
        return None if b'"sequence_number"' in first else Stream(head())
    try:
        _whole(first)
    except UNREADABLE:
        return Whole(head())
    return None


def _response(said: Fields, head: ReplyHead) -> Fields:
    for item in _list(said.get("output")):
        if isinstance(item, dict):
            _item(item)
    usage = said.get("usage")
    if isinstance(usage, dict):
        _counts(usage)
    lacking = {
        "id": f"resp_{head.id}",
        "object": "response",
        "created_at": head.created,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": head.model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
    }
    return lacking | said


def _counts(usage: Fields) -> None:
    read, written = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    usage["input_tokens_details"] = {"cached_tokens": 0, "cache_write_tokens": 0} | _fields(read)
    usage["output_tokens_details"] = {"reasoning_tokens": 0} | _fields(written)
    tokens = _whole_number(usage.get("input_tokens")) + _whole_number(usage.get("output_tokens"))
    usage.setdefault("total_tokens", tokens)


def _fields(said: object) -> Fields:
    return said if isinstance(said, dict) else {}


def _list(said: object) -> list[Any]:
    return said if isinstance(said, list) else []


def _whole_number(said: object) -> int:
    return said if isinstance(said, int) else 0


def _item(item: Fields) -> None:
    match item.get("type"):
        case "message":
            item.setdefault("role", "assistant")
            item.setdefault("status", "completed")
            item["content"] = _list(item.get("content"))
            for part in item["content"]:
                if isinstance(part, dict):
                    _part(part)
        case "reasoning":
            item.setdefault("summary", [])
        case "function_call":
            item.setdefault("arguments", "")


def _part(part: Fields) -> None:
    if part.get("type") == "output_text":
        part.setdefault("annotations", [])
        part.setdefault("logprobs", [])
