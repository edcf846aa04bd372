"""The model endpoints: who calls, the body up to its limit, its head; then the gateway."""

from __future__ import annotations

from collections.abc import Mapping

from moltbot_edge.core.errors import GatewayError, MethodNotAllowed
from moltbot_edge.core.head import with_wishes
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.dialects import Dialects
from moltbot_edge.gateway.exchange import Exchange
from moltbot_edge.gateway.output import write_error
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.server.auth import Auth
from moltbot_edge.server.body import Held, whole_body
from moltbot_edge.server.call import EXTENSION, Call
from moltbot_edge.server.connection import Scope
from moltbot_edge.server.limits import BodyBudget

# What a caller's tracing and account need upstream. Everything else is the caller's and ours.
FORWARDED = frozenset(
    {
        *(b"x-request-id", b"traceparent", b"tracestate", b"openai-organization", b"openai-project"),
        *(b"anthropic-version", b"anthropic-beta"),  # which shapes it understands
    }
)
OURS = b"x-moltbot-"


class ChatEndpoint:
    def __init__(
        self,
        dialects: Dialects,
        auth: Auth,
        exchange: Exchange,
        budget: BodyBudget,
        metrics: Metrics,
        body_bytes: int,
    ) -> None:
        self.paths = dialects.paths
        self._spoken = dialects.spoken
        self.dialect_at = dialects.at
        self._auth = auth
        self._exchange = exchange
        self._budget = budget
        self._metrics = metrics
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope) -> None:
        call: Call = scope["extensions"][EXTENSION]
        path = scope["path"]
        dialect = self.dialect_at(path)
        held = Held(self._budget, 1 if dialect.name in self._spoken else 2)
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"{path} takes POST, not {scope['method']}")
            holder = self._auth.holder(scope["headers"])
            length = call.content_length
            if call.body_complete and length is not None and length <= self._body_bytes and held.took(length):
                body: bytes | bytearray = call.body_so_far()  # nearly every request: it came in one read with its head
            else:
                body = await whole_body(call, held, self._body_bytes)
            forwarded, content_type, wishes = _passed_on(scope)
            head = dialect.head(path, content_type, body)
            if wishes:
                head = with_wishes(head, wishes)
            holder.check_may_use(head.model)
            for name in head.fallbacks:
                holder.check_may_use(name)
        except GatewayError as error:
            held.give()
            self._metrics.refused.cell(error.code or error.kind).add()
            write_error(call, dialect, error)
            return
        except BaseException:
            held.give()
            self._metrics.callers_gone.cell("body").add()
            raise
        form = content_type if head.form else b""
        request = Request(dialect, path, head, body, forwarded, held.give, holder.name, form)
        del body  # the request's alone, so that dropping it frees it
        await self._exchange.answer(request, call)


def _passed_on(scope: Scope) -> tuple[bytes, bytes, Mapping[bytes, bytes]]:
    """The header lines for the upstream, the body's type, and headers that are for us."""
    forwarded, content_type = b"", b""
    wishes: dict[bytes, bytes] = {}
    for pair in scope["headers"]:
        if pair[0] in FORWARDED:
            forwarded += b"%b: %b\r\n" % pair
        elif pair[0] == b"content-type":
            content_type = pair[1]
        elif pair[0].startswith(OURS):
            wishes[pair[0]] = pair[1]
    return forwarded, content_type, wishes
