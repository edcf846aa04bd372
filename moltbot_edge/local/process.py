"""One child process whose life is tied to ours: it cannot outlive the gateway, whatever kills the gateway.

The kernel does that (``prctl(2)``, PR_SET_PDEATHSIG: a signal to the child when the thread that made it ends), so
children are spawned on the event loop's own thread. A child is the first of a session and a process group, and the
group goes with it. Under memory pressure the kernel takes it before the gateway (``proc(5)``, oom_score_adj).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from moltbot_edge import binary
from moltbot_edge.local.tail import KEPT_BYTES, Tail

PR_SET_PDEATHSIG = 1
OOM_SCORE_ADJ = 800  # of 1000
KILL_S = 5.0  # for the kernel to end what was killed: a process in the middle of a read from a bad card takes its time
LAST_WORDS_S = 0.5  # from a child's end to that of its output, which a child of its own may hold open

# What a shell on this machine would say of the machine. Not the rest: the gateway's environment holds keys.
INHERITED = frozenset({"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH"})
INHERITED_FAMILIES = ("LC_", "XDG_", "CUDA_", "NVIDIA_", "GGML_", "VK_", "MESA_", "ROCR_", "HIP_", "HSA_", "OMP_")


class Child(asyncio.SubprocessProtocol):
    """A process that runs, or has ended. Its output is read to the end, whoever looks at it."""

    def __init__(self, on_line: Callable[[str], None], keep_bytes: int) -> None:
        self.output = Tail(keep_bytes)
        self.pid = 0
        self._on_line = on_line
        self._transport: asyncio.SubprocessTransport | None = None
        self._status = 0
        self._exited = asyncio.Event()
        self._silent = asyncio.Event()

    async def ended(self) -> int:
        """Wait for its end; the exit status, or minus the number of the signal that ended it."""
        await self._exited.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._silent.wait()
        self._close()
        return self._status

    async def stop(self, stop_s: float) -> bool:
        """SIGTERM, and SIGKILL after *stop_s* seconds, to its whole group. Is it gone?"""
        for number, wait_s in ((signal.SIGTERM, stop_s), (signal.SIGKILL, KILL_S)):
            self._signal(number)
            try:
                async with asyncio.timeout(wait_s):
                    await self._exited.wait()
                return True
            except TimeoutError:
                continue
        return False

    def kill(self) -> None:
        """At once, and without waiting for it. Does nothing once it has ended."""
        if not self._exited.is_set():
            self._signal(signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _signal(self, number: signal.Signals) -> None:
        if self.pid <= 0:  # killpg(0) would be our own group
            return
        with suppress(ProcessLookupError):  # it has ended, and process_exited is on its way
            os.killpg(self.pid, number)

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)  # uvloop's has its members, and is no subclass
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        for line in self.output.feed(data):
            self._on_line(line)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        for line in self.output.end():
            self._on_line(line)
        self._silent.set()

    def process_exited(self) -> None:
        assert self._transport is not None
        self._status = self._transport.get_returncode() or 0
        self._signal(signal.SIGKILL)  # what it left behind
        self._exited.set()


async def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    on_line: Callable[[str], None] = lambda line: None,
    keep_bytes: int = KEPT_BYTES,
) -> Child:
    """Start *command*, whose first word is a path. *on_line* is told each line of its output. Raises `OSError`."""
    tie = _tie()
    words = list(command) if tie is not None else [*_tying_words(), *command]
    nothing = _nothing_to_read()
    try:
        _, child = await asyncio.get_running_loop().subprocess_exec(
            lambda: Child(on_line, keep_bytes),
            *words,
            stdin=nothing,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=tie,
        )
    finally:
        os.close(nothing)
    _offer_to_the_oom_killer(child.pid)
    return child


def environment_for(program: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of *program*: of *inherited* what is known to be harmless, and its libraries' folder.

    A prebuilt llama-server comes with its ``lib*.so`` beside it, and not always with a run path to them.
    """
    chosen = {
        name: value for name, value in inherited.items() if name in INHERITED or name.startswith(INHERITED_FAMILIES)
    }
    folder = program.resolve().parent
    if any(folder.glob("lib*.so*")):
        chosen["LD_LIBRARY_PATH"] = os.pathsep.join(
            part for part in (str(folder), chosen.get("LD_LIBRARY_PATH")) if part
        )
    return chosen


def how_it_ended(status: int) -> str:
    """As a person says it: ``exited with status 1``, ``was killed by SIGSEGV``."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    match name:
        case "SIGILL":
            return "was killed by SIGILL: it was built for a processor with instructions that this one lacks"
        case "SIGKILL":
            return "was killed by SIGKILL: most likely the machine ran out of memory"
        case _:
            return f"was killed by {name}"


def _tie() -> Callable[[], None] | None:
    """What the child does before it becomes *command*. None where nothing here can call prctl."""
    ask = binary.death_signal() or _death_signal_of_the_c_library()
    if ask is None:
        return None
    number, parent = int(signal.SIGKILL), os.getpid()

    def tie() -> None:
        # Between fork and exec: no imports, no locks, nothing that another thread may have held.
        ask(number)
        if os.getppid() != parent:  # it died before the kernel knew whom to tell
            os._exit(1)

    return tie


def _death_signal_of_the_c_library() -> Callable[[int], None] | None:
    try:
        import ctypes
    except ImportError:
        return None
    try:
        prctl: Any = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return lambda number: prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def _tying_words() -> list[str]:
    """``setpriv`` of util-linux does the same; a shell looks whether the gateway lives, and becomes the command."""
    import shutil  # with bz2 and lzma; hardly anybody comes here

    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise OSError("nothing here can tie an engine's life to the gateway's: neither ctypes nor setpriv (util-linux)")
    look = f'[ "$PPID" = {os.getpid()} ] && exec "$@"'
    return [setpriv, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", look, "sh"]


def _nothing_to_read() -> int:
    """A descriptor that is at its end: /dev/null, or where there is none a pipe that nobody writes to."""
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except FileNotFoundError:
        read, write = os.pipe()
        os.close(write)
        return read


def _offer_to_the_oom_killer(pid: int) -> None:
    with suppress(OSError):  # it has ended already, or /proc is not ours to write
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE_ADJ))
