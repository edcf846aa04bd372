"""Random bytes of the system's, of which some are had at once.

A call to the system for them lets go of the interpreter's lock; where a thread waits for it, that costs more than all
that the bytes are for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

HELD_BYTES: Final = 512  # some 40 ids


class Noise:
    """Nothing of it is given twice. Lives in one thread."""

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self._source = source
        self._held = b""
        self._given = 0

    def __call__(self, size: int) -> bytes:
        if len(self._held) - self._given < size:
            self._held = self._source(max(size, HELD_BYTES))
            self._given = 0
        begin = self._given
        self._given += size
        return self._held[begin : self._given]
