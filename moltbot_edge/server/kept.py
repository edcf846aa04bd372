"""What the endpoints of kept conversations share: how one is looked at, its path, a page of a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.gateway.sessions import Sessions

LISTED: Final = 20  # where nobody says how many, as OpenAI has it
MOST_LISTED: Final = 100

T = TypeVar("T")


class Reading:
    """Sessions, to be looked at."""

    def __init__(self, sessions: Sessions) -> None:
        self.loaded = sessions.loaded


def pieces(request: Request, root: str) -> Sequence[str]:
    """Of the path below *root*, as it was sent: what is written %2F is part of a name."""
    raw: bytes = request.scope["raw_path"]
    found = [unquote(piece, encoding="latin-1") for piece in raw.decode("latin-1").split("/")]
    return found[root.rstrip("/").count("/") + 1 :]


def page(request: Request, all_of_it: Sequence[T], id_of: Callable[[T], str], said: Callable[[T], Any]) -> Response:
    """Some of *all_of_it*, which is in the order of time, as the query's ``limit``, ``order`` and ``after`` say."""
    query = request.query_params
    limit = query.get("limit", str(LISTED))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MOST_LISTED):
        raise InvalidRequest(f"limit is 1 to {MOST_LISTED}, found {limit[:40]!r}", param="limit")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest(f"order is asc or desc, found {order[:40]!r}", param="order")
    ordered = list(all_of_it if order == "asc" else reversed(all_of_it))
    ids = [id_of(one) for one in ordered]
    first = 0
    if (after := query.get("after")) is not None:
        if after not in ids:
            raise InvalidRequest(f"there is no item {after[:256]!r} to list after", param="after")
        first = ids.index(after) + 1
    end = min(first + int(limit), len(ordered))
    return json(listing(ids[first:end], [said(one) for one in ordered[first:end]], has_more=end < len(ordered)))


def listing(ids: Sequence[str], data: Sequence[Any], *, has_more: bool = False) -> dict[str, Any]:
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return {"object": "list", "data": data, **ends, "has_more": has_more}


def takes(allowed: str) -> HTTPException:
    return HTTPException(405, headers={"Allow": allowed})


def json(said: object) -> Response:
    return Response(msgspec.json.encode(said), media_type="application/json")
