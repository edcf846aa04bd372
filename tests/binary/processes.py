"""Which processes live and whose they are, as /proc of this machine tells; emulated ones are processes like others."""

from __future__ import annotations

from pathlib import Path


def lives(pid: int) -> bool:
    """A zombie that nobody has collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gateway_of(pid: int) -> int:
    """The process that serves, of the one that was started: a one-file bundle's unpacks, and starts itself again."""
    arguments = _command(pid).partition(b"\0serve\0")[2]  # an emulator before the program is another each time
    for child in children(pid):
        if _command(child).endswith(b"\0serve\0" + arguments):
            return child
    return pid


def children(pid: int) -> list[int]:
    listed = [Path(task, "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return [child for line in listed for child in map(int, line.split()) if lives(child)]


def environment(pid: int) -> dict[str, str]:
    """What it was started with."""
    listed = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(one.decode("utf-8", "replace").partition("=")[::2] for one in listed if one)


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
