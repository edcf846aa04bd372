"""A request as it goes to an upstream of its own dialect, and what a refusal of it says of the caller."""

from __future__ import annotations

import re

from moltbot_edge.core.dialect import Operation
from moltbot_edge.core.errors import GatewayError, InvalidRequest, UpstreamRefused
from moltbot_edge.core.head import Body, check_text, with_model
from moltbot_edge.gateway.caller import Request

NAMED = re.compile(rb'"param"\s*:\s*"')  # a field at fault
BLAMED = frozenset({400, 422, 500})  # what servers say to what is malformed


def for_model(model: str, request: Request, body: bytes | bytearray) -> list[Body]:
    if not request.form:
        return with_model(body, model, request.head)
    from moltbot_edge.core import multipart  # files are seldom sent

    return multipart.with_model(request.form, body, model, request.head.model)


def blame(request: Request, refused: GatewayError) -> None:
    """Raises `InvalidRequest` where what was refused is malformed: an upstream may fail at it, or not say where."""
    if not isinstance(refused, UpstreamRefused) or refused.too_long or refused.answered not in BLAMED:
        return
    if refused.answered != 500 and NAMED.search(refused.body):
        return
    if request.dialect.operations.get(request.path) is Operation.CHAT:
        try:
            check_text(request.body)
            request.dialect.codec().read_request(request.path, request.body)
        except InvalidRequest as error:
            raise error from refused
