"""``POST /v1/feedback``: whether a reply was any good, for the policies that learn. OpenAI has no such endpoint.

``{"id": "ex-0a1b2c...", "good": true}``: the id is the reply's header ``x-moltbot-exchange``, or the reply's own.
"""

from __future__ import annotations

import msgspec

from moltbot_edge.core.dialect import Dialect
from moltbot_edge.core.errors import BodyTooLarge, GatewayError, InvalidRequest, MethodNotAllowed, UnknownExchange
from moltbot_edge.gateway.experience import Experience
from moltbot_edge.gateway.output import JSON, write_error
from moltbot_edge.server.auth import Auth
from moltbot_edge.server.call import EXTENSION, Call
from moltbot_edge.server.connection import Scope

PATH = "/v1/feedback"
BODY_BYTES = 4 * 1024


class _Feedback(msgspec.Struct):
    id: str
    good: bool


_decode = msgspec.json.Decoder(_Feedback).decode


class FeedbackEndpoint:
    """*dialect* writes the errors."""

    def __init__(self, auth: Auth, experience: Experience, dialect: Dialect) -> None:
        self._auth = auth
        self._experience = experience
        self._dialect = dialect

    async def __call__(self, scope: Scope) -> None:
        call: Call = scope["extensions"][EXTENSION]
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"{PATH} takes POST, not {scope['method']}")
            holder = self._auth.holder(scope["headers"])
            feedback = _read(await _body(call))
            if not self._experience.feedback(holder.name, feedback.id, feedback.good):
                raise UnknownExchange(
                    "no exchange of yours has this id: the last ones are remembered whose policy learns, and a restart"
                    " forgets them; the id is the reply's header x-moltbot-exchange, or the reply's own",
                    param="id",
                )
        except GatewayError as error:
            write_error(call, self._dialect, error)
            return
        body = msgspec.json.encode(feedback)
        call.start(200, [JSON], len(body))
        call.finish(body)


async def _body(call: Call) -> bytes:
    whole = bytearray()
    while piece := await call.body_piece():
        whole += piece
        if len(whole) > BODY_BYTES:
            raise BodyTooLarge(f"feedback is an id and a verdict; this is larger than {BODY_BYTES} bytes")
    return bytes(whole)


def _read(body: bytes) -> _Feedback:
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f'expected {{"id": "ex-...", "good": true}}, found something else: {error}') from error
