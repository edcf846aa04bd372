"""Values as Ollama writes them: durations, moments and images. Pure.

Source: Go's ``time.ParseDuration`` and ``RFC3339Nano``, which Ollama reads and writes with.
"""

from __future__ import annotations

import base64
import math
import re
from typing import Final

from moltbot_edge.core.errors import InvalidRequest

UNITS_S: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
NANO: Final = 10**9
MOST_S: Final = 2**63 // NANO - 1  # what a duration can be: 292 years

_DURATION = re.compile(r"([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|m|s|us|µs|ns))+")
_PIECE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
# The first bytes of what models take as images.
_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"BM", "image/bmp"),
)


def whole(number: int | float | None, least: int | None = None) -> int | None:
    """Cut to a whole number, as Ollama does; None below *least*, which there means "not limited"."""
    if number is None or (least is not None and number < least):
        return None
    return int(number)


def seconds(said: float | str | None) -> float | None:
    """``5m``, ``1h30m``, ``-1``, ``300`` or a number of seconds. Negative: for ever. Raises `InvalidRequest`."""
    if said is None or isinstance(said, (int, float)):
        return said
    text = said.strip()
    if not text:
        return None
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", text):  # Go wants a unit, but for 0; its meaning is plain
        return float(text)
    if _DURATION.fullmatch(text) is None:
        raise InvalidRequest(f'expected seconds, or a duration such as "5m"; found {said!r}', param="keep_alive")
    total = math.fsum(float(number) * UNITS_S[unit] for number, unit in _PIECE.findall(text))
    return -total if text.startswith("-") else total


def image_type(data: str) -> str | None:
    """The media type of an image in base64; None where it is none that models take."""
    if _BASE64.fullmatch(data) is None:
        return None
    head = base64.b64decode(data[:16] + "=" * (-len(data[:16]) % 4)) if len(data) >= 4 else b""
    return next((kind for start, kind in _SIGNATURES if head.startswith(start)), None)


def moment(seconds_since_1970: int) -> str:
    """``2026-11-23T06:13:28Z``. Source of the reckoning: H. Hinnant, "chrono-compatible low-level date algorithms"."""
    days, of_day = divmod(seconds_since_1970, 86_400)
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    year = year_of_era + era * 400 + (month <= 2)
    hour, rest = divmod(of_day, 3_600)
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{rest // 60:02}:{rest % 60:02}Z"


def nanoseconds(seconds_taken: float) -> int:
    return max(0, round(min(seconds_taken, MOST_S) * NANO))
