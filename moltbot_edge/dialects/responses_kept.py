"""A turn that is kept, as the Response that it was: its reply's events again, written by what wrote them first.

How the answer was sampled is not kept, and so not said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from moltbot_edge.core import response_id, session
from moltbot_edge.core.chat import ChatRequest, Message, Part, Reasoning, Refusal, Text, ToolCall
from moltbot_edge.core.dialect import Place, ReplyHead
from moltbot_edge.core.reply import (
    Began,
    Event,
    Finished,
    ReasoningDelta,
    ReasoningSealed,
    RefusalDelta,
    TextDelta,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)
from moltbot_edge.core.session import Turn
from moltbot_edge.dialects.responses_reply import ReplyWriter

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def response(name: str, path: Sequence[Turn], removed: Collection[str]) -> bytes:
    """The last turn of *path*, in the session *name*; without those items of it that were taken out."""
    turn = path[-1]
    after = turn.parent if session.is_made_name(name) and len(path) > 1 and path[-2].answered else None
    head = ReplyHead(turn.id, int(turn.at), turn.model, place=Place(name, turn.id, after))
    writer = ReplyWriter(_request(path), head)
    events = [*_events(turn.reply.parts), Finished(turn.finish)]
    if turn.usage is not None:
        events.append(UsageSaid(turn.usage))
    written = writer.write([Began(), *events]) + writer.end()
    here = response_id.place(name, turn.id)
    gone = {one.partition("_")[2] for one in removed if one.startswith(f"{turn.id}_")}
    if not gone:
        return written
    said = _decode(written)
    said["output"] = [one for one in said["output"] if one["id"].partition(f"_{here}_")[2] not in gone]
    return msgspec.json.encode(said)


def _request(path: Sequence[Turn]) -> ChatRequest:
    system: tuple[Message, ...] = session.system(path)
    metadata = path[-1].metadata
    return ChatRequest(
        model=path[-1].model,
        messages=system,
        opening=len(system),
        tools=session.tools(path),
        extras={} if metadata is None else {"metadata": msgspec.json.encode(metadata)},
    )


def _events(parts: Sequence[Part]) -> Iterator[Event]:
    calls = 0
    for part in parts:
        match part:
            case Text(text=text):
                yield TextDelta(text)
            case Refusal(text=text):
                yield RefusalDelta(text)
            case Reasoning(text=text, seal=seal, origin=origin, redacted=redacted, id=id):
                if text:
                    yield ReasoningDelta(text)
                if seal is not None:
                    yield ReasoningSealed(seal, origin or "", redacted, id)
            case ToolCall(id=id, name=name, arguments=arguments):
                yield ToolCallBegan(calls, id, name)
                yield ToolCallDelta(calls, arguments)
                calls += 1
