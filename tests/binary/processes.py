"""Which processes live and whose they are, as /proc of this machine tells; emulated ones are processes like others."""

from __future__ import annotations

from pathlib import Path


def lives(pid: int) -> bool:
    """A zombie that nobody has collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    listed = [Path(task, "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return [child for line in listed for child in map(int, line.split()) if lives(child)]
