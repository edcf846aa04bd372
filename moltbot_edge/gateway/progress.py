"""What a caller sees while it waits for a model of this board, if it asked: its place, the load, its prompt being read.

Asked for by ``stream_options.include_progress``, with a stream. The engine itself tells of its reading where a request
says ``return_progress`` (llama.cpp's ``tools/server/README.md``): events before the first of the answer, which are
taken out here and told in the caller's dialect. They are no part of the answer, so another machine may still give it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from moltbot_edge.core import sse
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.head import Body
from moltbot_edge.core.lease import Phase, Progress
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.output import Output
from moltbot_edge.upstream.wire import Reply


class _Read(msgspec.Struct):
    total: int = 0
    processed: int = 0


class _Event(msgspec.Struct):
    prompt_progress: _Read | None = None


_decode = msgspec.json.Decoder(_Event).decode


def hearer(request: Request, output: Output) -> Callable[[Progress], None]:
    """Who writes progress to the caller of *request*."""
    dialect, model = request.dialect, request.head.model

    def hear(progress: Progress) -> None:
        output.progress(dialect.progress(progress, model))

    return hear


def asking(body: Sequence[Body]) -> list[Body]:
    """The same JSON object, as pieces, with the wish for progress as its last field."""
    *before, last = body
    return [*before, bytes(last).rstrip().removesuffix(b"}"), b',"return_progress":true}']


def reading(reply: Reply, hear: Callable[[Progress], None], event_bytes: int) -> Reply:
    """*reply* without the events that tell of reading, of which *hear* is told."""
    return cast(Reply, _Reading(reply, hear, event_bytes))


class _Reading:
    """Stands in for a `Reply`. Looks at the events before the first of the answer, and at none after."""

    def __init__(self, reply: Reply, hear: Callable[[Progress], None], event_bytes: int) -> None:
        self._reply = reply
        self._hear = hear
        self._event_bytes = event_bytes
        self._held: bytes | None = b""  # None once the answer has begun

    def __getattr__(self, name: str) -> object:
        return getattr(self._reply, name)

    async def pump(self, sink: Callable[[bytes], bool]) -> bool:
        def look(data: bytes) -> bool:
            return sink(data) if self._held is None else self._look(self._held + data, sink)

        done = await self._reply.pump(look)
        if done and self._held:
            held, self._held = self._held, None
            sink(held)
        return done

    def _look(self, data: bytes, sink: Callable[[bytes], bool]) -> bool:
        while data:
            end = data.find(b"\n\n") + 2
            if end < 2:
                break
            progress = _progress(data[:end])
            if progress is None:
                self._held = None
                return sink(data)
            self._hear(progress)
            data = data[end:]
        self._held = data
        if len(data) > self._event_bytes:
            self._held = None
            return sink(data)
        return True


def _progress(event: bytes) -> Progress | None:
    """What *event* tells of reading; None where it is one of the answer."""
    if b'"prompt_progress"' not in event:
        return None
    try:
        said = _decode(next(sse.data_of(event), b"{}")).prompt_progress
    except UNREADABLE:
        return None
    if said is None:
        return None
    return Progress(Phase.PREFILL, done=min(max(said.processed / said.total, 0.0), 1.0) if said.total > 0 else None)
