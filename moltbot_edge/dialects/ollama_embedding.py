"""Ollama's embeddings, both ways: ``/api/embed``, and ``/api/embeddings`` as older clients ask, one text at a time.

Source: Ollama's API documentation.
"""

from __future__ import annotations

import msgspec

from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import Outgoing, ReplyHead
from moltbot_edge.core.embedding import Embedded, EmbedRequest
from moltbot_edge.core.errors import InvalidReply, InvalidRequest
from moltbot_edge.core.head import OURS
from moltbot_edge.dialects import ollama_values as values
from moltbot_edge.dialects.embedding_values import vector
from moltbot_edge.dialects.misfit import readable

OLDER = "/api/embeddings"
_KNOWN = frozenset({"model", "input", "prompt", "truncate", "dimensions", "keep_alive", "stream"})


class _Asked(msgspec.Struct):
    model: str
    input: str | list[str] | None = None
    prompt: str | None = None
    truncate: bool | None = None
    dimensions: int | None = None
    keep_alive: float | str | None = None


class _Reply(msgspec.Struct):
    """*embedding* is the older path's."""

    model: str | None = None
    embeddings: list[msgspec.Raw] | None = None
    embedding: msgspec.Raw = msgspec.Raw(b"")
    prompt_eval_count: int | None = None


_asked = msgspec.json.Decoder(_Asked).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_reply = msgspec.json.Decoder(_Reply).decode


class OllamaEmbedCodec:
    def read_request(self, path: str, body: bytes | bytearray) -> EmbedRequest:
        with readable():
            asked = _asked(body)
            fields = _fields(body)
        field = "prompt" if path == OLDER else "input"
        said, other = (asked.prompt, asked.input) if path == OLDER else (asked.input, asked.prompt)
        if said is None and other is not None:
            raise InvalidRequest(f"the field `{field}` is missing", param=field)
        inputs = (said,) if isinstance(said, str) else tuple(said or ())
        return EmbedRequest(
            model=asked.model,
            inputs=inputs,
            loads_only=not any(inputs),
            dimensions=asked.dimensions or None,
            truncate=asked.truncate,
            keep_alive=values.seconds(asked.keep_alive),
            extras={
                name: bytes(value)
                for name, value in fields.items()
                if name not in _KNOWN and name not in OURS and bytes(value) not in (b"null", b"{}")
            },
            origin="ollama",
        )

    def write_request(self, request: EmbedRequest) -> Outgoing:
        if request.vital:
            raise InvalidRequest(f"{request.vital[0]} cannot be had of an Ollama", param=request.vital[0])
        body: dict[str, object] = {"model": request.model, "input": request.inputs}
        if request.truncate is not None:
            body["truncate"] = request.truncate
        elif request.origin != "ollama":
            body["truncate"] = False  # elsewhere a text that is too long is an error, not half a text
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.keep_alive is not None:
            body["keep_alive"] = request.keep_alive
        dropped = [] if request.user is None else ["user"]
        for name, value in request.extras.items():
            if request.origin == "ollama":
                body[name] = msgspec.Raw(value)
            else:
                dropped.append(name)
        return Outgoing("/api/embed", msgspec.json.encode(body), tuple(dropped))

    def read_reply(self, body: bytes) -> Embedded:
        try:
            reply = _reply(body)
        except UNREADABLE as error:
            raise InvalidReply(f"the upstream sent no embeddings: {error}") from error
        said = [reply.embedding] if reply.embeddings is None else reply.embeddings
        if said and not bytes(said[0]):
            raise InvalidReply("the upstream sent no embeddings")
        return Embedded(tuple(vector(one) for one in said), reply.model, reply.prompt_eval_count)

    def write_reply(self, reply: Embedded, request: EmbedRequest, head: ReplyHead, path: str) -> bytes:
        if path == OLDER:
            first = reply.vectors[0] if reply.vectors else b"[]"
            return msgspec.json.encode({"embedding": msgspec.Raw(first)})
        said: dict[str, object] = {"model": head.model, "embeddings": [msgspec.Raw(one) for one in reply.vectors]}
        if head.elapsed_s is not None:
            said["total_duration"] = values.nanoseconds(head.elapsed_s())
        said["load_duration"] = 0
        said["prompt_eval_count"] = reply.input_tokens or 0
        return msgspec.json.encode(said)
