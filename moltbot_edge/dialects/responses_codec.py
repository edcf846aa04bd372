"""OpenAI's Responses, translated: one place for what reads and writes it. Not how it is kept."""

from __future__ import annotations

from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.dialect import ChatCodec, EventReader, EventWriter, Outgoing, ReplyHead
from moltbot_edge.dialects import complaint, responses_asking, responses_request
from moltbot_edge.dialects.responses_events import StreamReader, WholeReader
from moltbot_edge.dialects.responses_reply import ReplyWriter


class ResponsesCodec:
    def read_request(self, path: str, body: bytes | bytearray) -> ChatRequest:
        return responses_request.read(body, alone=path == responses_request.COUNTED)

    def write_request(self, request: ChatRequest) -> Outgoing:
        return responses_asking.written(request)

    def event_reader(self, streamed: bool) -> EventReader:
        return StreamReader() if streamed else WholeReader()

    def event_writer(self, request: ChatRequest, head: ReplyHead, path: str) -> EventWriter:
        return ReplyWriter(request, head)

    def complaint(self, body: bytes) -> str | None:
        return complaint.complaint(body)


def codec() -> ChatCodec:
    return ResponsesCodec()
