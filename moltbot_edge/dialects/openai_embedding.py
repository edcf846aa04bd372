"""OpenAI's embeddings, both ways. Texts only: tokens are of one model's vocabulary, and mean nothing to another's.

Source: OpenAI's API reference. Vectors are asked for as numbers, which everybody sends.
"""

from __future__ import annotations

import msgspec

from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import Outgoing, ReplyHead
from moltbot_edge.core.embedding import Embedded, EmbedRequest
from moltbot_edge.core.errors import InvalidReply, InvalidRequest
from moltbot_edge.core.head import OURS
from moltbot_edge.dialects.embedding_values import in_base64, vector
from moltbot_edge.dialects.misfit import readable

_KNOWN = frozenset({"model", "input", "encoding_format", "dimensions", "user"})


class _Asked(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None
    user: str | None = None


class _Datum(msgspec.Struct):
    embedding: msgspec.Raw
    index: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Reply(msgspec.Struct):
    data: list[_Datum]
    model: str | None = None
    usage: _Usage | None = None


_asked = msgspec.json.Decoder(_Asked).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_reply = msgspec.json.Decoder(_Reply).decode


class OpenAIEmbedCodec:
    def read_request(self, path: str, body: bytes | bytearray) -> EmbedRequest:
        with readable():
            asked = _asked(body)
            fields = _fields(body)
        said = [asked.input] if isinstance(asked.input, str) else asked.input
        texts = tuple(one for one in said if isinstance(one, str))
        if len(texts) < len(said):
            raise InvalidRequest("tokens can only be asked of the model that they are of: send texts", param="input")
        if asked.encoding_format not in (None, "float", "base64"):
            raise InvalidRequest('expected "float" or "base64"', param="encoding_format")
        return EmbedRequest(
            model=asked.model,
            inputs=texts,
            dimensions=asked.dimensions,
            base64=asked.encoding_format == "base64",
            user=asked.user,
            extras={
                name: bytes(value)
                for name, value in fields.items()
                if name not in _KNOWN and name not in OURS and bytes(value) != b"null"
            },
            origin="openai-chat",
        )

    def write_request(self, request: EmbedRequest) -> Outgoing:
        if request.vital:
            raise InvalidRequest(f"{request.vital[0]} cannot be had of this model", param=request.vital[0])
        body: dict[str, object] = {"model": request.model, "input": request.inputs, "encoding_format": "float"}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.user is not None:
            body["user"] = request.user
        dropped = []
        if request.truncate:  # what is too long is an error here; with False it is what was wanted
            dropped.append("truncate")
        if request.keep_alive is not None:
            dropped.append("keep_alive")
        for name, value in request.extras.items():
            if request.origin == "openai-chat":
                body[name] = msgspec.Raw(value)
            else:
                dropped.append(name)
        return Outgoing("/embeddings", msgspec.json.encode(body), tuple(dropped))

    def read_reply(self, body: bytes) -> Embedded:
        try:
            reply = _reply(body)
        except UNREADABLE as error:
            raise InvalidReply(f"the upstream sent no embeddings: {error}") from error
        places = [place if one.index is None else one.index for place, one in enumerate(reply.data)]
        order = sorted(range(len(places)), key=places.__getitem__)
        tokens = None if reply.usage is None else reply.usage.prompt_tokens
        return Embedded(tuple(vector(reply.data[at].embedding) for at in order), reply.model, tokens)

    def write_reply(self, reply: Embedded, request: EmbedRequest, head: ReplyHead, path: str) -> bytes:
        vectors = [in_base64(one) if request.base64 else msgspec.Raw(one) for one in reply.vectors]
        data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(vectors)]
        tokens = reply.input_tokens or 0
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return msgspec.json.encode({"object": "list", "data": data, "model": head.model, "usage": usage})
