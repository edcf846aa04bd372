"""What is wrong with a request's body, and at which field: msgspec's words, as `InvalidRequest` with a path."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Final

import msgspec

from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidRequest

_PATH = re.compile(r" - at `(?:key in )?\$\.?(.*?)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")


class _Readable:
    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, msgspec.ValidationError):
            said, *_ = str(error).partition(" - at `")
            found = [pattern.search(str(error)) for pattern in (_PATH, _MISSING)]
            path = ".".join(one[1] for one in found if one is not None and one[1])
            raise InvalidRequest(f"the request body is not right: {said}", param=path or None) from error
        if isinstance(error, UNREADABLE):
            raise InvalidRequest(f"the request body is not JSON: {error}") from error


_READABLE: Final = _Readable()


def readable() -> _Readable:
    """Around the decoding of a body: ``messages[2].content`` is the *param* of what it raises."""
    return _READABLE
