"""The translation of OpenAI's chat dialect, to the canonical chat and back. The work is its neighbours'.

openai_request  a request read; openai_asking, a request written
openai_events   a reply read; openai_answer, a reply written
"""

from __future__ import annotations

from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.dialect import EventReader, EventWriter, Outgoing, ReplyHead
from moltbot_edge.dialects import complaint, openai_asking, openai_request
from moltbot_edge.dialects.openai_answer import StreamAnswer, WholeAnswer
from moltbot_edge.dialects.openai_events import StreamEvents, WholeEvents


class OpenAICodec:
    def read_request(self, path: str, body: bytes | bytearray) -> ChatRequest:
        return openai_request.read(body)

    def write_request(self, request: ChatRequest) -> Outgoing:
        return openai_asking.written(request)

    def event_reader(self, streamed: bool) -> EventReader:
        return StreamEvents() if streamed else WholeEvents()

    def event_writer(self, request: ChatRequest, head: ReplyHead, path: str) -> EventWriter:
        return StreamAnswer(request, head) if request.stream else WholeAnswer(head)

    def complaint(self, body: bytes) -> str | None:
        return complaint.complaint(body)
