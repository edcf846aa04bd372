"""Ollama's chat, both ways: joins what reads and writes its requests and its replies."""

from __future__ import annotations

from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.dialect import EventReader, EventWriter, Outgoing, ReplyHead
from moltbot_edge.dialects import complaint
from moltbot_edge.dialects.ollama_outgoing import outgoing
from moltbot_edge.dialects.ollama_reply import Reader, StreamWriter, WholeWriter
from moltbot_edge.dialects.ollama_request import chat_request


class OllamaCodec:
    def read_request(self, path: str, body: bytes | bytearray) -> ChatRequest:
        return chat_request(path, body)

    def write_request(self, request: ChatRequest) -> Outgoing:
        return outgoing(request)

    def event_reader(self, streamed: bool) -> EventReader:
        return Reader()

    def event_writer(self, request: ChatRequest, head: ReplyHead, path: str) -> EventWriter:
        return (StreamWriter if request.stream else WholeWriter)(request, head, path)

    def complaint(self, body: bytes) -> str | None:
        return complaint.complaint(body)
