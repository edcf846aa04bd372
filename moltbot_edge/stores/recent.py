"""Sessions that went on lately, as values: who goes on with one waits neither for the disk nor for what it decodes to.

Only this process has the folder, so what is here is what is there: what a commit brings is put in once it is over.
The thread of the table alone writes; the event loop looks one session up, which no write in the middle can disturb.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from moltbot_edge.core.session import Kept

if TYPE_CHECKING:
    from moltbot_edge.stores.table import Row

LIMIT_BYTES: Final = 8 * 1024 * 1024  # some 4,000 turns of 1 KiB: more than go on at one time on a board
LARGEST: Final = 4  # one session may take a fourth


class Known(NamedTuple):
    """*leaf* is its last row, and the largest of its keys; *weight_bytes* is what it takes here."""

    name: tuple[str, str]
    kept: Kept
    leaf: Row
    weight_bytes: int


class Recent:
    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._sessions: dict[bytes, Known] = {}  # what went on last comes last
        self._pending: dict[bytes, Known | None] = {}
        self._size_bytes = 0

    def get(self, start: bytes) -> Known | None:
        """As the disk has it. From any thread."""
        return self._sessions.get(start)

    # From here on in the thread of the table.

    def standing(self, start: bytes) -> Known | None:
        """As it will be when what is written now is on the disk."""
        return self._pending[start] if start in self._pending else self._sessions.get(start)

    def expect(self, start: bytes, known: Known | None) -> None:
        """None: nothing is known of it any more."""
        self._pending[start] = known

    def settle(self) -> None:
        """What was expected has come true."""
        for start, known in self._pending.items():
            self.put(start, known)
        self._pending.clear()

    def put(self, start: bytes, known: Known | None) -> None:
        before = self._sessions.pop(start, None)
        if before is not None:
            self._size_bytes -= before.weight_bytes
        if known is None or known.weight_bytes > self._limit_bytes // LARGEST:
            return
        self._sessions[start] = known
        self._size_bytes += known.weight_bytes
        while self._size_bytes > self._limit_bytes:
            self._size_bytes -= self._sessions.pop(next(iter(self._sessions))).weight_bytes

    def clear(self) -> None:
        """Nobody knows what the disk has now."""
        self._sessions.clear()
        self._pending.clear()
        self._size_bytes = 0
