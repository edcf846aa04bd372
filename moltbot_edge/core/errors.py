"""Everything that can go wrong with a request, as one tree. Not how it is written: that is the dialect's.

    GatewayError
    |- CallerError                 the request is at fault; asking again does not help
    |  |- InvalidRequest       400
    |  |- PromptTooLong        400  an upstream's words for it, said as the caller's own vendor says it
    |  |- Unauthenticated      401
    |  |- Forbidden            403
    |  |- NotAdmin             403
    |  |- UnknownModel         404
    |  |- UnknownPath          404
    |  |- UnknownExchange      404
    |  |- UnknownSession       404
    |  |- UnknownResponse      404
    |  |- UnknownPrevious      400  what a request goes on after, as OpenAI says it
    |  |- UnknownItem          404
    |  |- MethodNotAllowed     405
    |  |- RequestTimeout       408
    |  |- ModelInUse           409
    |  |- SessionBusy          409
    |  |- SessionConflict      409
    |  |- SessionTooLarge      413
    |  `- BodyTooLarge         413
    |- Overloaded              503  a limit of ours is reached; carries when to come back
    |- EngineFailed            503  a model of this board does not start
    |- ModelTooLarge           507  a model of this board cannot fit into the memory of its engines
    |- StoreError                   sessions cannot be kept or found now; a reply need not fail for it
    |  |- StoreFull            507
    |  |- StoreReadOnly        503
    |  |- StoreLocked          503
    |  |- StoreDamaged         503
    |  `- StoreUnreachable     503
    `- UpstreamError                another machine is at fault; another deployment may do better
       |- Unreachable          502
       |- ClosedUnanswered     502
       |- InvalidReply         502
       |- TruncatedReply       502
       |- UpstreamBroke        502
       |- UpstreamTimeout      504
       `- UpstreamRefused      as the upstream said: its status and body, to be passed on

Status and kind are class attributes, so a test can walk the tree and ask every dialect to write every leaf.
"""

from __future__ import annotations

import re
from typing import ClassVar


class GatewayError(Exception):
    """*retry_after_s*, where not None, is sent as ``Retry-After``."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"  # the error object's ``type`` in OpenAI's dialect
    code: ClassVar[str | None] = None
    retryable: bool = False  # may another deployment be asked instead?

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class CallerError(GatewayError):
    status = 400
    kind = "invalid_request_error"


class InvalidRequest(CallerError): ...


class PromptTooLong(CallerError):
    code = "context_length_exceeded"


class Unauthenticated(CallerError):
    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"


class Forbidden(CallerError):
    status = 403
    kind = "permission_error"
    code = "model_not_allowed"


class NotAdmin(CallerError):
    status = 403
    kind = "permission_error"
    code = "not_an_administrator"


class UnknownModel(CallerError):
    status = 404
    code = "model_not_found"


class UnknownPath(CallerError):
    status = 404
    code = "unknown_url"


class UnknownExchange(CallerError):
    status = 404
    code = "exchange_not_found"


class UnknownSession(CallerError):
    """Or another's, which to this caller is the same."""

    status = 404
    code = "session_not_found"


class UnknownResponse(CallerError):
    """As `UnknownSession`."""

    status = 404
    code = "response_not_found"


class UnknownPrevious(CallerError):
    code = "previous_response_not_found"


class UnknownItem(CallerError):
    status = 404
    code = "item_not_found"


class MethodNotAllowed(CallerError):
    status = 405
    code = "method_not_allowed"


class RequestTimeout(CallerError):
    status = 408
    code = "request_timeout"


class ModelInUse(CallerError):
    """An engine of this board cannot be ended, or its file removed, now."""

    status = 409
    code = "model_in_use"


class SessionBusy(CallerError):
    """Another request has it."""

    status = 409
    code = "session_busy"


class SessionConflict(CallerError):
    """It went on meanwhile, or is not where it was expected."""

    status = 409
    code = "session_conflict"


class SessionTooLarge(CallerError):
    status = 413
    code = "session_too_large"


class BodyTooLarge(CallerError):
    status = 413
    code = "body_too_large"


class Overloaded(GatewayError):
    status = 503
    kind = "overloaded_error"
    code = "overloaded"
    retryable = True  # one upstream's line is full, another's may not be


class EngineFailed(GatewayError):
    status = 503
    kind = "engine_error"
    code = "engine_failed"
    retryable = True


class ModelTooLarge(GatewayError):
    status = 507
    kind = "engine_error"
    code = "model_too_large"
    retryable = True  # here it never fits; another machine may have it


class StoreError(GatewayError):
    status = 503
    kind = "store_error"


class StoreFull(StoreError):
    status = 507
    code = "session_store_full"


class StoreReadOnly(StoreError):
    code = "session_store_read_only"


class StoreLocked(StoreError):
    """Another process has it."""

    code = "session_store_locked"


class StoreDamaged(StoreError):
    code = "session_store_damaged"


class StoreUnreachable(StoreError):
    """No server answers, or the disk does not."""

    code = "session_store_unreachable"


class UpstreamError(GatewayError):
    status = 502
    kind = "upstream_error"
    retryable = True


class Unreachable(UpstreamError):
    code = "upstream_unreachable"


class ClosedUnanswered(UpstreamError):
    """The connection ended before a byte of the reply. On one that was kept from before, most likely it was stale."""

    code = "upstream_closed"


class InvalidReply(UpstreamError):
    code = "upstream_invalid_reply"


class TruncatedReply(UpstreamError):
    code = "upstream_truncated_reply"


class UpstreamBroke(UpstreamError):
    """It said itself, in the middle of its reply, that it failed."""

    code = "upstream_broke"


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"


# Every other refusal may be this upstream's alone: its quota, its credentials, its models.
AT_FAULT_IS_THE_CALLER = frozenset({400, 405, 406, 409, 411, 413, 415, 416, 417, 422})
TOO_LONG_FOR_IT = frozenset({400, 413, 422, 500})  # Ollama's embeddings say it with 500


# As OpenAI, llama-server, vLLM and Mistral, Anthropic, and Gemini say it; whoever copies their format copies the words.
TOO_LONG = (
    b"context_length_exceeded",
    b"exceed_context_size",
    b"available context size",
    b"context length",
    b"context window",
    b"prompt is too long",
    b"exceeds the maximum number of tokens",
)
# How the vendors themselves say it, by which their clients and the programs on them know it.
TOO_LONG_AS_VENDORS_SAY = (b"context_length_exceeded", b"prompt is too long")
# As llama-server says it, with 500, and Ollama: a request that asks again of the same model fails again.
SEES_NOTHING = (
    b"image input is not supported",
    b"audio input is not supported",
    b"missing data required for image input",
)
# As Ollama says it of a model for embeddings that is to chat, and of one that chats, vLLM, and OpenAI.
UNABLE = re.compile(rb"does not support (?:chat|generate|embed)|not a chat model", re.IGNORECASE)


class UpstreamRefused(UpstreamError):
    """The upstream answered with an error of its own; *answered* is its status, *body* its bytes as sent.

    *too_long*: it says that the prompt is longer than its model's context; *sees_nothing*: that its model has no eyes
    or ears for what is in the request; *unable*: that its model is for something else altogether. Of one name, such as
    ``auto``, another deployment's may be the right one.
    """

    code = "upstream_refused"

    def __init__(
        self, message: str, *, answered: int, body: bytes, content_type: bytes, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.unable = answered in TOO_LONG_FOR_IT and UNABLE.search(body) is not None
        self.retryable = self.unable or answered not in AT_FAULT_IS_THE_CALLER
        self.answered = answered
        self.too_long = answered in TOO_LONG_FOR_IT and any(sign in body for sign in TOO_LONG)
        self.sees_nothing = answered in TOO_LONG_FOR_IT and any(sign in body for sign in SEES_NOTHING)
        self.body = body
        self.content_type = content_type


def leaves(root: type[GatewayError] = GatewayError) -> list[type[GatewayError]]:
    """Every error of the tree that is raised, in its order."""
    below = [child for child in root.__subclasses__() if child.__module__ == __name__]
    return [leaf for child in below for leaf in leaves(child)] if below else [root]
