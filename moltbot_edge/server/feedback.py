"""``POST /v1/feedback``: whether a reply was any good, for the policies that learn. OpenAI has no such endpoint.

``{"id": "ex-0a1b2c...", "good": true}``: the id is the reply's header ``x-moltbot-exchange``, or the reply's own.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidRequest, UnknownExchange
from moltbot_edge.gateway.experience import Experience
from moltbot_edge.server.auth import Auth
from moltbot_edge.server.management import body_of

BODY_BYTES = 4 * 1024


class _Feedback(msgspec.Struct):
    id: str
    good: bool


_decode = msgspec.json.Decoder(_Feedback).decode


class FeedbackEndpoint:
    def __init__(self, auth: Auth, experience: Experience) -> None:
        self._auth = auth
        self._experience = experience

    async def post(self, request: Request) -> Response:
        """Raises `UnknownExchange` for an id that is not one of this key's own."""
        holder = self._auth.holder(request.headers.raw)
        feedback = _read(await body_of(request, BODY_BYTES, "feedback is an id and a verdict"))
        if not self._experience.feedback(holder.name, feedback.id, feedback.good):
            raise UnknownExchange(
                "no exchange of yours has this id: the last ones are remembered whose policy learns, and a restart"
                " forgets them; the id is the reply's header x-moltbot-exchange, or the reply's own",
                param="id",
            )
        return Response(msgspec.json.encode(feedback), media_type="application/json")


def _read(body: bytes) -> _Feedback:
    try:
        return _decode(body)
    except UNREADABLE as error:
        raise InvalidRequest(f'expected {{"id": "ex-...", "good": true}}, found something else: {error}') from error
