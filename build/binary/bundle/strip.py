"""A shared object without what only debuggers and linkers read. Wheels often bring these: uvloop's, 14 of its 16 MB.

Done here, as the machine's own strip knows the machine's own architecture, and zig's does not write ELF files. Taken
away is everything past the last segment, and the table of sections: a loader reads the table of segments alone.
"""

from __future__ import annotations

import struct

E_PHOFF, E_SHOFF, E_PHENTSIZE, E_SHNUM = 32, 40, 54, 60


def stripped(content: bytes) -> bytes:
    """*content* is a whole little-endian 64-bit ELF file."""
    (table,) = struct.unpack_from("<Q", content, E_PHOFF)
    size, count = struct.unpack_from("<HH", content, E_PHENTSIZE)
    ends = [table + size * count]
    for at in range(table, table + size * count, size):
        offset, _, _, size_bytes = struct.unpack_from("<QQQQ", content, at + 8)
        ends.append(offset + size_bytes)
    kept = bytearray(content[: max(ends)])
    struct.pack_into("<Q", kept, E_SHOFF, 0)
    struct.pack_into("<HH", kept, E_SHNUM, 0, 0)
    return bytes(kept)
