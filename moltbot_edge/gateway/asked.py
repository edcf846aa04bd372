"""What is asked of one deployment, and how far it has come: the values that the steps of an attempt hand on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec.structs import replace

from moltbot_edge.core.catalog import Deployment, Route
from moltbot_edge.core.dialect import ReplyReader
from moltbot_edge.core.lease import Progress, unheard
from moltbot_edge.core.speed import Sent
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.experience import Lesson
from moltbot_edge.gateway.plan import Plan
from moltbot_edge.upstream.pool import Place

if TYPE_CHECKING:  # imported when the first caller speaks another dialect than its upstream
    from moltbot_edge.gateway.translate import EmbedTranslation, Translation

CHAT = "/chat/completions"
PROMPTED = (CHAT, "/completions")  # what an engine answers out of a slot's cache


class ExchangeLimits(msgspec.Struct, frozen=True):
    """Defaults and their reasons are in `config.schema.Limits`."""

    ping_after_s: float
    client_stall_s: float
    reply_hold_bytes: int
    event_bytes: int
    translated_bytes: int


class Asked(msgspec.Struct, frozen=True):
    """What a caller wants, and how it is to be had. *marks* are of `core.prefixes`, of the request's body.

    *instead* says of what model it is asked in the place, and why: that is the reason for the reply's header then.
    """

    request: Request
    route: Route
    plan: Plan
    marks: Sequence[int]
    lesson: Lesson | None
    instead: bytes = b""

    def planned(self, plan: Plan) -> Asked:
        if self.instead:
            plan = replace(plan, reason=self.instead)
        return replace(self, plan=plan)


class Contender(Protocol):
    """One of several deployments asked at the same time. *lost*: another one's first byte was there before."""

    lost: bool

    def claim(self) -> bool:
        """Be the one that answers the caller. False: it is too late, and nothing may be written."""
        ...


class Attempt(msgspec.Struct):
    """One deployment being asked. *began* is monotonic, and *silent_since*; None while it loads or answers."""

    deployment: Deployment
    sent: Sent
    began: float
    silent_since: float | None
    place: Place | None
    contender: Contender | None
    body: bytes | bytearray
    translation: Translation | EmbedTranslation | None = None
    reader: ReplyReader | None = None
    first_byte_s: float | None = None
    streamed: bool = False
    hear: Callable[[Progress], None] = unheard

    def path_of(self, request: Request) -> str:
        """Below the upstream's base URL."""
        return request.dialect.paths[request.path] if self.translation is None else self.translation.path
