"""What there is, in Anthropic's shape: for callers whose headers say its version. Imported at the first of them.

Source: Anthropic's API reference, "List Models", and the types of its official client. A list comes in pages.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from moltbot_edge.core.catalog import Catalog
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.server.connection import Scope

PAGE: Final = 20  # where the caller does not say
LONGEST_PAGE: Final = 1_000


def page(scope: Scope, catalog: Catalog, names: Sequence[str], since: int) -> bytes:
    """As the query asks: ``limit``, ``after_id``, ``before_id``. Raises `InvalidRequest`."""
    query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
    limit = _limit(query.get("limit"))
    first, last = 0, len(names)
    if (after := query.get("after_id")) is not None:
        first = _place(names, after, "after_id") + 1
    if (before := query.get("before_id")) is not None:
        last = _place(names, before, "before_id")
    found = names[first:last]
    has_more = len(found) > limit
    found = found[-limit:] if before is not None and after is None else found[:limit]
    return msgspec.json.encode(
        {
            "data": [_model(name, catalog, since) for name in found],
            "has_more": has_more,
            "first_id": found[0] if found else None,
            "last_id": found[-1] if found else None,
        }
    )


def one(name: str, catalog: Catalog, since: int) -> bytes:
    return msgspec.json.encode(_model(name, catalog, since))


def _limit(said: str | None) -> int:
    if said is None:
        return PAGE
    if not said.isascii() or not said.isdigit() or not 1 <= int(said[:9]) <= LONGEST_PAGE:
        raise InvalidRequest(f"`limit` is a number from 1 to {LONGEST_PAGE}", param="limit")
    return int(said)


def _place(names: Sequence[str], name: str, field: str) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise InvalidRequest(f"`{field}` is none of the models there are", param=field) from None


def _model(name: str, catalog: Catalog, since: int) -> Mapping[str, Any]:
    widths = [one.context_tokens for one in catalog.route(name).deployments if one.context_tokens is not None]
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since)),
        "lifecycle": "active",
        "max_input_tokens": max(widths, default=None),
        "max_tokens": None,
    }
