"""A dialect as its caller sees it: what is sent, what is read, and what says that a streamed reply is over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from crashing.ledger import Pair

MESSAGES = "messages"
RESPONSES = "openai-responses"


@dataclass(frozen=True)
class Shape:
    """*end* stands in the last event of a stream. *whole* and *piece* find the text in a reply, and in an event."""

    path: str
    asked_in: str
    end: bytes
    whole: Callable[[Any], str]
    piece: Callable[[Any], str]
    more: tuple[tuple[str, Any], ...] = ()

    def request(self, history: Sequence[Pair], question: str, stream: bool) -> dict[str, Any]:
        said = [(role, text) for pair in history for role, text in zip(("user", "assistant"), pair, strict=True)]
        messages = [{"role": role, "content": text} for role, text in [*said, ("user", question)]]
        return {"model": "chat", self.asked_in: messages, "stream": stream, **dict(self.more)}

    def text(self, body: bytes, stream: bool) -> str:
        return "".join(map(self.piece, _events(body))) if stream else self.whole(json.loads(body))

    def response(self, body: bytes, stream: bool) -> str:
        """Of a reply in OpenAI's Responses, its id."""
        reply = list(_events(body))[-1]["response"] if stream else json.loads(body)
        return str(reply["id"])


def _events(body: bytes) -> Iterator[Any]:
    for line in body.split(b"\n"):
        data = line.removeprefix(b"data: ")
        if data.startswith(b"{"):
            yield json.loads(data)


def _of_responses(reply: Any) -> str:
    return "".join(part["text"] for item in reply["output"] for part in item.get("content", ()))


SHAPES = {
    "openai-chat": Shape(
        "/v1/chat/completions",
        MESSAGES,
        b"data: [DONE]",
        lambda reply: str(reply["choices"][0]["message"]["content"]),
        lambda event: "".join(choice["delta"].get("content") or "" for choice in event["choices"]),
    ),
    "anthropic-messages": Shape(
        "/v1/messages",
        MESSAGES,
        b'"message_stop"',
        lambda reply: "".join(block["text"] for block in reply["content"]),
        lambda event: str(event.get("delta", {}).get("text", "")),
        (("max_tokens", 4096),),
    ),
    RESPONSES: Shape(
        "/v1/responses",
        "input",
        b'"response.completed"',
        _of_responses,
        lambda event: str(event["delta"]) if event["type"] == "response.output_text.delta" else "",
    ),
    "ollama": Shape(
        "/api/chat",
        MESSAGES,
        b'"done":true',
        lambda reply: str(reply["message"]["content"]),
        lambda event: str(event["message"]["content"]),
    ),
}
