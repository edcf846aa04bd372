"""What reading other people's JSON may raise, and how much of it is read: callers', upstreams', files'.

msgspec says so itself where a text is no JSON or not of its type; bytes that are no text, and a nesting deeper than
the stack, are Python's.
"""

from __future__ import annotations

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# In one body. Each costs some hundred bytes while it is looked at, and `{}` two; no conversation has so many.
MOST_OBJECTS: Final = 100_000
