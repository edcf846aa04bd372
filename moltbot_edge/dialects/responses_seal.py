"""The seal of a reasoning item: what only the model's provider can read, and gets back in the next request.

OpenAI's stands as it is, in base64. Another provider's, such as the signature of Anthropic's thinking, names where it
is from, so that it returns there and nowhere else.
"""

from __future__ import annotations

from typing import Final

OWN: Final = "openai-responses"
_REDACTED: Final = "redacted:"


def read(encrypted: str) -> tuple[str, str, bool]:
    """The seal, the dialect that it is from, and whether the reasoning has no words but these."""
    origin, colon, seal = encrypted.partition(":")  # which base64 does not have
    if not colon:
        return encrypted, OWN, False
    return seal.removeprefix(_REDACTED), origin, seal.startswith(_REDACTED)


def written(seal: str, origin: str | None, redacted: bool) -> str:
    if origin is None or origin == OWN:
        return seal
    return f"{origin}:{_REDACTED if redacted else ''}{seal}"
