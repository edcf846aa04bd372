"""Runs one command, and ends all that came of it when the one who asked for it is gone, however that one ended.

``python3 -IS warden.py LIFELINE REPORT COMMAND...``, by `process`, never by hand. LIFELINE is a descriptor that reads
end-of-file once nobody holds its other end; until then a child that lost its parent may live on here, so that a test
can see it. REPORT is told ``pid NUMBER`` and, when the command has ended, ``status NUMBER`` (below zero: a signal).
What is orphaned comes to the warden (prctl(2), PR_SET_CHILD_SUBREAPER), new sessions and process groups included.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
CANNOT_RUN = 127  # as shells have it


def main() -> None:
    lifeline, report, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for descriptor in (lifeline, report):
        os.set_inheritable(descriptor, False)

    pid = os.fork()
    if pid == 0:
        _become(command)
    _tell(report, f"pid {pid}\n")
    for stream in (0, 1, 2):  # whoever reads to the end of them waits for the command, not for us
        os.close(stream)
    while lifeline not in select.select([lifeline, woken], [], [])[0]:
        with contextlib.suppress(BlockingIOError):
            os.read(woken, 4096)
        for ended, status in _ended():
            if ended == pid:
                _tell(report, f"status {os.waitstatus_to_exitcode(status)}\n")
    _end_all()


def _become(command: list[str]) -> None:
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so
            signal.signal(number, signal.SIG_DFL)
        # Not `os.environ`: where no locale is set, Python adds one to it (PEP 538).
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
        os.execvpe(command[0], command, dict(entry.split(b"=", 1) for entry in entries if b"=" in entry))
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(CANNOT_RUN)


def _tell(report: int, line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(report, line.encode())


def _ended() -> list[tuple[int, int]]:
    ended = []
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    return ended


def _end_all() -> None:
    """Who is born meanwhile loses its parent, comes here, and is seen in the next round."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in _descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _descendants(of: int) -> set[int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = {of}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {of}


if __name__ == "__main__":
    main()
