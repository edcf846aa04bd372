"""Where each built-in dialect's callers come, as data: a dialect is imported when the first of them does.

Dialect -> the path that callers use -> the path below an upstream's base URL. Only where a model is asked; what the
gateway itself answers, such as what models there are, is the server's.
"""

from __future__ import annotations

from collections.abc import Mapping

PATHS: Mapping[str, Mapping[str, str]] = {
    "openai-chat": {
        "/v1/chat/completions": "/chat/completions",
        "/v1/completions": "/completions",
        "/v1/embeddings": "/embeddings",
        "/v1/rerank": "/rerank",
        "/v1/audio/transcriptions": "/audio/transcriptions",
        "/v1/audio/translations": "/audio/translations",
        "/v1/audio/speech": "/audio/speech",
        "/v1/images/generations": "/images/generations",
        "/v1/images/edits": "/images/edits",
    },
    "openai-responses": {
        "/v1/responses": "/responses",
        "/v1/responses/input_tokens": "/responses/input_tokens",
    },
    "anthropic-messages": {
        "/v1/messages": "/messages",
        "/v1/messages/count_tokens": "/messages/count_tokens",
    },
    "ollama": {
        "/api/chat": "/api/chat",
        "/api/generate": "/api/generate",
        "/api/embed": "/api/embed",
        "/api/embeddings": "/api/embeddings",
    },
}
