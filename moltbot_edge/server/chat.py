"""The model endpoints: who calls, the body up to its limit, its head; then the gateway."""

from __future__ import annotations

from collections.abc import Mapping

from moltbot_edge.core.errors import BodyTooLarge, GatewayError, MethodNotAllowed
from moltbot_edge.core.head import with_wishes
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.dialects import Dialects
from moltbot_edge.gateway.exchange import Exchange
from moltbot_edge.gateway.output import write_error
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.server.auth import Auth
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
        held = _Held(self._budget, 1 if dialect.name in self._spoken else 2)
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"{path} takes POST, not {scope['method']}")
            holder = self._auth.holder(scope["headers"])
            length = call.content_length
            if call.body_complete and length is not None and length <= self._body_bytes and held.took(length):
                body: bytes | bytearray = call.body_so_far()  # nearly every request: it came in one read with its head
            else:
                body = await self._body(call, held)
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
        request = Request(dialect, path, head, body, forwarded, held.give, holder.name, form, held.take)
        del body  # the request's alone, so that dropping it frees it
        await self._exchange.answer(request, call)

    async def _body(self, call: Call, held: _Held) -> bytes | bytearray:
        """The whole body. Room for it is taken before it is read, in pieces where its length was not said."""
        length = call.content_length
        if length is not None:
            self._check(length)
            await held.take(length)
            return await call.body_of(length)
        whole = bytearray()
        while piece := await call.body_piece():
            self._check(len(whole) + len(piece))
            await held.take(len(piece))
            whole += piece
        return whole

    def _check(self, size: int) -> None:
        if size > self._body_bytes:
            raise BodyTooLarge(f"the request's body is larger than {self._body_bytes} bytes (limits.body_bytes)")


class _Held:
    """What one request has taken of the budget: its body, and once more where that will be translated."""

    def __init__(self, budget: BodyBudget, copies: int) -> None:
        self._budget = budget
        self._copies = copies
        self._size = 0

    def took(self, size: int) -> bool:
        size = self._all(size)
        if not self._budget.took(size):
            return False
        self._size += size
        return True

    async def take(self, size: int) -> None:
        size = self._all(size)
        await self._budget.take(size)
        self._size += size

    def _all(self, size: int) -> int:
        """What could not be had of the whole budget is not waited for."""
        return size if self._copies == 1 else max(size, min(size * self._copies, self._budget.limit_bytes - self._size))

    def give(self) -> None:
        size, self._size = self._size, 0
        if size:
            self._budget.give(size)


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
