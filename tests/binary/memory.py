"""What a process takes, as the kernel counts it. Said, never asserted: the budget is the benchmark's."""

from __future__ import annotations

import re
from pathlib import Path


def memory(pid: int) -> str:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    resident, anonymous = (
        int(re.findall(rf"^{field}: +(\d+) kB", rollup, re.MULTILINE)[0]) / 1024 for field in ("Rss", "Anonymous")
    )
    return f"{resident:.1f} MiB resident, {anonymous:.1f} MiB of it anonymous"
