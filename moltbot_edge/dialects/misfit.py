"""What is wrong with a request's body, and at which field: msgspec's words, as `InvalidRequest` with a path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidRequest

_PATH = re.compile(r" - at `(?:key in )?\$\.?(.*?)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")


@contextmanager
def readable() -> Iterator[None]:
    """Around the decoding of a body: ``messages[2].content`` is the *param* of what it raises."""
    try:
        yield
    except msgspec.ValidationError as error:
        said, *_ = str(error).partition(" - at `")
        found = [pattern.search(str(error)) for pattern in (_PATH, _MISSING)]
        path = ".".join(one[1] for one in found if one is not None and one[1])
        raise InvalidRequest(f"the request body is not right: {said}", param=path or None) from error
    except UNREADABLE as error:
        raise InvalidRequest(f"the request body is not JSON: {error}") from error
