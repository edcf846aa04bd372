"""The signature of a thinking block: what proves to Anthropic that its model thought so.

A thought of another provider's model has none that Anthropic takes. Its block carries our mark and whatever seal that
provider gave, so that it returns there with the next request, and `foreign` knows it from afar.
"""

from __future__ import annotations

from typing import Final

from moltbot_edge.core.chat import Reasoning

ORIGIN: Final = "anthropic-messages"
MARK: Final = "moltbot-edge:"

# Our mark, or nothing, as engines sign that speak this dialect. In a text the quotes would be escaped.
_FOREIGN: Final = (MARK.encode(), b'"signature":""', b'"signature": ""')


def foreign(body: bytes | bytearray) -> bool:
    """Does this request bring thoughts that Anthropic would refuse?"""
    return any(sign in body for sign in _FOREIGN)


def written(seal: str | None, origin: str | None, item: str | None = None) -> str:
    if seal is None:
        return MARK
    return seal if origin in (None, ORIGIN) else f"{MARK}{origin}:{item or ''}:{seal}"


def read(text: str, signature: str) -> Reasoning:
    if not signature.startswith(MARK):
        return Reasoning(text=text, seal=signature, origin=ORIGIN) if signature else Reasoning(text=text)
    origin, _, sealed = signature.removeprefix(MARK).partition(":")
    item, _, seal = sealed.partition(":")
    if not seal:
        return Reasoning(text=text)
    return Reasoning(text=text, seal=seal, origin=origin, id=item or None)
