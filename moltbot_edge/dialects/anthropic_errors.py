"""Errors in Anthropic's shape, whole and in a stream. Source: its API reference and its official client's types."""

from __future__ import annotations

from typing import Final

import msgspec

from moltbot_edge.core.errors import GatewayError, PromptTooLong

KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",  # 529 at Anthropic; ours has a Retry-After, which clients heed at both
    504: "timeout_error",
    529: "overloaded_error",
}


def kind(error: GatewayError) -> str:
    status = getattr(error, "answered", error.status)
    if status in (401, 403) and status != error.status:
        return "api_error"  # an upstream refuses our key: the caller's own is right
    return KINDS.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")


def error_object(error: GatewayError) -> bytes:
    """There is no field for the path of what is wrong: the message says it."""
    message = error.message
    if error.param is not None and f"`{error.param}`" not in message:
        message = f"{error.param}: {message}"
    if isinstance(error, PromptTooLong) and "prompt is too long" not in message:
        message = f"prompt is too long: {message}"  # there is no code: programs know it by these words
    return msgspec.json.encode({"type": "error", "error": {"type": kind(error), "message": message}})


def error_event(error: GatewayError) -> bytes:
    return b"event: error\ndata: " + error_object(error) + b"\n\n"
