"""All that a plug-in imports; the built-in ones import it too. Names here stay; what lies behind them may move.

A plug-in is one file in the folder that ``plugins.folder`` names. This one sends short prompts to the machines
named in its options first, and leaves long ones in the order in which they came::

    from collections.abc import Sequence

    from moltbot_edge.api import Candidate, RouteQuery, Struct, policy


    @policy("local-first")
    class LocalFirst(Struct, frozen=True):
        local: tuple[str, ...]
        up_to_tokens: int = 2_000

        def __call__(self, candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
            if query.prompt_tokens > self.up_to_tokens:
                return candidates
            return sorted(candidates, key=lambda candidate: candidate.deployment.upstream.host not in self.local)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Meta, Struct, field

from moltbot_edge.core import sse
from moltbot_edge.core.catalog import Deployment, Upstream
from moltbot_edge.core.dialect import (
    EVENT_STREAM,
    NDJSON,
    ChatCodec,
    Dialect,
    EmbedCodec,
    EventReader,
    EventWriter,
    Mender,
    Operation,
    Outgoing,
    ReplyHead,
    ReplyObserver,
    ReplyReader,
)
from moltbot_edge.core.errors import (
    BodyTooLarge,
    CallerError,
    ClosedUnanswered,
    EngineFailed,
    Forbidden,
    GatewayError,
    InvalidReply,
    InvalidRequest,
    MethodNotAllowed,
    ModelInUse,
    ModelTooLarge,
    NotAdmin,
    Overloaded,
    PromptTooLong,
    RequestTimeout,
    SessionBusy,
    SessionConflict,
    SessionTooLarge,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreUnreachable,
    TruncatedReply,
    Unauthenticated,
    UnknownExchange,
    UnknownItem,
    UnknownModel,
    UnknownPath,
    UnknownPrevious,
    UnknownResponse,
    UnknownSession,
    Unreachable,
    UpstreamBroke,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from moltbot_edge.core.events import Outcome, Timings, Usage
from moltbot_edge.core.experience import Tally
from moltbot_edge.core.head import Head, read_head
from moltbot_edge.core.lease import Progress
from moltbot_edge.core.prompt import Prompt
from moltbot_edge.core.routing import Candidate, Choice, Policy, RouteQuery
from moltbot_edge.core.scoreboard import Standing
from moltbot_edge.core.speed import Speed
from moltbot_edge.core.verdict import Impression
from moltbot_edge.kernel.marks import mark

if TYPE_CHECKING:
    from moltbot_edge.core import chat, embedding, record, reply, session
    from moltbot_edge.core.store import Page, Stats, Store, StoreOptions, Summary

__all__ = [
    "EVENT_STREAM",
    "NDJSON",
    "BodyTooLarge",
    "CallerError",
    "Candidate",
    "ChatCodec",
    "Choice",
    "ClosedUnanswered",
    "Deployment",
    "Dialect",
    "EmbedCodec",
    "EngineFailed",
    "EventReader",
    "EventWriter",
    "Forbidden",
    "GatewayError",
    "Head",
    "Impression",
    "InvalidReply",
    "InvalidRequest",
    "Mender",
    "Meta",
    "MethodNotAllowed",
    "ModelInUse",
    "ModelTooLarge",
    "NotAdmin",
    "Operation",
    "Outcome",
    "Outgoing",
    "Overloaded",
    "Page",
    "Policy",
    "Progress",
    "Prompt",
    "PromptTooLong",
    "ReplyHead",
    "ReplyObserver",
    "ReplyReader",
    "RequestTimeout",
    "RouteQuery",
    "SessionBusy",
    "SessionConflict",
    "SessionTooLarge",
    "Speed",
    "Standing",
    "Stats",
    "Store",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreLocked",
    "StoreOptions",
    "StoreReadOnly",
    "StoreUnreachable",
    "Struct",
    "Summary",
    "Tally",
    "Timings",
    "TruncatedReply",
    "Unauthenticated",
    "UnknownExchange",
    "UnknownItem",
    "UnknownModel",
    "UnknownPath",
    "UnknownPrevious",
    "UnknownResponse",
    "UnknownSession",
    "Unreachable",
    "Upstream",
    "UpstreamBroke",
    "UpstreamError",
    "UpstreamRefused",
    "UpstreamTimeout",
    "Usage",
    "chat",
    "dialect",
    "embedding",
    "field",
    "policy",
    "read_head",
    "record",
    "reply",
    "session",
    "sse",
    "store",
]

P = TypeVar("P", bound=Policy | type[Policy])
D = TypeVar("D", bound=type[Dialect])
S = TypeVar("S", bound="Callable[[StoreOptions], AbstractAsyncContextManager[Any]]")


def policy(name: str) -> Callable[[P], P]:
    """Marks a function, or a frozen `Struct` whose fields are the policy's options and whose instances are called."""
    return mark("policy", name)


def dialect(name: str) -> Callable[[D], D]:
    """Marks a class whose instances have the members of `Dialect`."""
    return mark("dialect", name)


def store(name: str) -> Callable[[S], S]:
    """Marks a function from `core.store.StoreOptions` to an open `core.store.Store`, as an async context manager."""
    return mark("store", name)


def __getattr__(name: str) -> object:
    """The canonical chat, the events of its reply, embeddings, sessions and their stores: imported where somebody
    needs them.
    """
    if name in ("chat", "embedding", "record", "reply", "session"):
        from moltbot_edge.core import chat, embedding, record, reply, session

        return {"chat": chat, "embedding": embedding, "record": record, "reply": reply, "session": session}[name]
    if name in ("Page", "Stats", "Store", "StoreOptions", "Summary"):
        from moltbot_edge.core import store

        return getattr(store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
