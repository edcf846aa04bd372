"""The translation of Anthropic's dialect, to the canonical chat and back. The work is its neighbours'.

anthropic_wire     a request's fields and their types
anthropic_request  a request read; anthropic_asking, a request written
anthropic_events   a reply read; anthropic_answer, a reply written
anthropic_seal     signatures of thoughts, ours and others'
"""

from __future__ import annotations

from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.dialect import EventReader, EventWriter, Outgoing, ReplyHead
from moltbot_edge.dialects import anthropic_asking, anthropic_request, complaint
from moltbot_edge.dialects.anthropic_answer import StreamAnswer, WholeAnswer
from moltbot_edge.dialects.anthropic_events import StreamEvents, WholeEvents


class AnthropicCodec:
    def read_request(self, path: str, body: bytes | bytearray) -> ChatRequest:
        return anthropic_request.read(path, body)

    def write_request(self, request: ChatRequest) -> Outgoing:
        return anthropic_asking.written(request)

    def event_reader(self, streamed: bool) -> EventReader:
        return StreamEvents() if streamed else WholeEvents()

    def event_writer(self, request: ChatRequest, head: ReplyHead, path: str) -> EventWriter:
        return StreamAnswer(request, head) if request.stream else WholeAnswer(request, head)

    def complaint(self, body: bytes) -> str | None:
        return complaint.complaint(body)
