"""What every store refuses, in the same words."""

from __future__ import annotations

from moltbot_edge.api import InvalidRequest, SessionConflict, SessionTooLarge

PLACE_DIGITS = 18  # what SQLite and Redis count with has 63 bits


def conflict(session: str, expected: str | None, found: str | None) -> SessionConflict:
    if found is None:
        return SessionConflict(f"session {session!r} is not there any more")
    if expected is None:
        return SessionConflict(f"there is a session {session!r} already")
    return SessionConflict(f"session {session!r} went on meanwhile: it stands at {found}, not at {expected}")


def check_size(session: str, size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise SessionTooLarge(
            f"session {session!r} would take {size_bytes} bytes, and one may take {limit_bytes} "
            "(`sessions.session_mb`): begin another"
        )


def position(after: str | None, beginning: int) -> int:
    """Where a list goes on, which callers send back as they were told it."""
    if not after:
        return beginning
    if len(after) > PLACE_DIGITS or not (after.isascii() and after.isdigit()):
        raise InvalidRequest(f"no list of sessions goes on after {after[:40]!r}", param="after")
    return int(after)
