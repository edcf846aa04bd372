"""Path -> endpoint: an ASGI application for HTTP alone, with nothing between the two where it matters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from moltbot_edge.core.dialect import Dialect
from moltbot_edge.server.call import Message
from moltbot_edge.server.chat import ChatEndpoint
from moltbot_edge.server.connection import Asgi, Scope
from moltbot_edge.server.models import ONE, ModelsEndpoint, speaks_anthropic
from moltbot_edge.server.reading import Send, Tell, tell
from moltbot_edge.server.status import StatusEndpoints

FEEDBACK = "/v1/feedback"
SESSIONS = "/v1/sessions"
RESPONSES = "/v1/responses/"  # and an id
CONVERSATIONS = "/v1/conversations"
MANAGED = frozenset({FEEDBACK, SESSIONS, CONVERSATIONS})
MESSAGES = "/v1/messages"  # Anthropic's
ADMIN = "/admin/"
COMPACT = f"{ADMIN}sessions/compact"
MANAGED_BELOW = (ADMIN, f"{SESSIONS}/", RESPONSES, f"{CONVERSATIONS}/")  # what begins so is managed too
OLLAMA = "/api/"  # and what begins so, and is no chat, is Ollama's


class App:
    """*management* makes the application for `MANAGED` and `MANAGED_BELOW`, *ollama* the one below `OLLAMA`, each at
    the first such request.

    *dialect* writes the errors of what is no model endpoint.
    """

    def __init__(
        self,
        chat: ChatEndpoint,
        models: ModelsEndpoint,
        status: StatusEndpoints,
        management: Callable[[], Asgi],
        ollama: Callable[[], Asgi],
        dialect: Dialect,
    ) -> None:
        self._chat = chat
        self._management = management
        self._managed: Asgi | None = None
        self._ollama = ollama
        self._as_ollama: Asgi | None = None
        self._chat_paths = chat.paths
        self._told: dict[str, Tell] = {
            "/health": status.health,
            "/ready": status.ready,
            "/metrics": status.metrics,
            "/v1/models": models.all,
        }
        self._one_model = models.one
        self._dialect = dialect

    def __call__(self, scope: Scope, receive: Callable[[], Awaitable[Message]], send: Send) -> Awaitable[None]:
        path = scope["path"]
        if path in self._chat_paths:
            return self._chat(scope)
        if path in MANAGED or path.startswith(MANAGED_BELOW):
            if self._managed is None:
                self._managed = self._management()
            return self._managed(scope, receive, send)
        if path.startswith(OLLAMA) or path == "/":
            if self._as_ollama is None:
                self._as_ollama = self._ollama()
            return self._as_ollama(scope, receive, send)
        one_model = self._one_model if path.startswith(ONE) else None
        # Nobody but Anthropic's callers says its version: what they are told is in their dialect, also what is amiss.
        dialect = self._chat.dialect_at(MESSAGES) if speaks_anthropic(scope) else self._dialect
        return tell(scope, send, self._told.get(path, one_model), dialect)
