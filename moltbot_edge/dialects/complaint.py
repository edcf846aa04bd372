"""What an upstream's error says, in whichever shape: many servers speak one dialect and err in another's. Pure.

Source: OpenAI's and Anthropic's API references (``error.message``), Ollama's (``error``), Mistral and older vLLM
(``message``), and FastAPI's servers (``detail``, for what is malformed a list).
"""

from __future__ import annotations

import msgspec

from moltbot_edge.core.decoding import UNREADABLE

MOST_DETAILS = 8


class _Error(msgspec.Struct):
    message: str | None = None


class _Detail(msgspec.Struct):
    msg: str
    loc: list[str | int] = []

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.loc))}: {self.msg}" if self.loc else self.msg


class _Refused(msgspec.Struct):
    error: _Error | str | None = None
    message: str | None = None
    detail: str | list[_Detail] | None = None


_refused = msgspec.json.Decoder(_Refused).decode


def complaint(body: bytes) -> str | None:
    """None where it says nothing that is known."""
    try:
        refused = _refused(body)
    except UNREADABLE:
        return None
    error, detail = refused.error, refused.detail
    said = error.message if isinstance(error, _Error) else error
    if isinstance(detail, list):
        detail = "; ".join(map(str, detail[:MOST_DETAILS]))
    return said or refused.message or detail or None
