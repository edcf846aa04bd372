"""Processes that an engine left behind, and engines that a killed gateway left: found by a mark, and ended.

Every engine is started with `MARK` in its environment, which all that it starts inherits, even in a session of its
own. The mark names the gateway: this boot, this process namespace, its process and when that began. So a process is
an orphan of ours if its mark can be read and the gateway it names has ended; a living gateway's engines, those of
another container, and everybody else's processes cannot be taken for one. No file has to be kept for that, and none
can be lost or lie.

Sources: ``proc(5)`` for ``environ`` and field 22 of ``stat``; ``pidfd_open(2)``: a signal through it reaches the
process that was looked at, or none.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import msgspec

MARK = "MOLTBOT_EDGE_ENGINE"
PROC = Path("/proc")
AT_ONCE = 32  # processes looked at before the event loop has its turn: about 2 ms on a Pi
GONE_S = 5.0  # for the kernel to end what was killed
POLL_S = 0.02


class Gateway(msgspec.Struct, frozen=True):
    """One process, for as long as this machine runs: no other will ever be equal to it."""

    boot: str
    namespace: str
    pid: int
    began: int

    def mark(self, engine: str) -> str:
        """*engine* tells one start of an engine from all others of this gateway."""
        return f"{self.boot}/{self.namespace}/{self.pid}/{self.began}/{engine}"


def this_gateway(proc: Path = PROC) -> Gateway:
    pid = os.getpid()
    return Gateway(_line(proc / "sys/kernel/random/boot_id"), _namespace(proc), pid, _began(pid, proc))


def environment(gateway: Gateway, engine: str) -> dict[str, str]:
    return {MARK: gateway.mark(engine)}


async def end_orphans(gateway: Gateway, proc: Path = PROC) -> list[int]:
    """End what gateways before *gateway* left in its namespace. The processes that were ended."""

    def is_orphaned(mark: str) -> bool:
        owner = _owner(mark)
        if owner is None or (owner.boot, owner.namespace) != (gateway.boot, gateway.namespace):
            return False
        return owner != gateway and _began(owner.pid, proc) != owner.began

    return await _end(is_orphaned, proc)


async def end_rest(mark: str, proc: Path = PROC) -> list[int]:
    """End everything that carries *mark*: the engine has gone, and these it left."""
    return await _end(lambda found: found == mark, proc)


async def _end(condemned: Callable[[str], bool], proc: Path) -> list[int]:
    """Again until none is found: one may have started another while we looked."""
    ended: list[int] = []
    for _ in range(8):
        found = [pid async for pid in _marked(condemned, proc)]
        for pid in found:
            _kill(pid, condemned, proc)
        if not found:
            break
        ended += found
        with suppress(TimeoutError):
            async with asyncio.timeout(GONE_S):
                while any(_mark_of(pid, proc) is not None for pid in found):  # noqa: ASYNC110  (the kernel tells nobody)
                    await asyncio.sleep(POLL_S)
    return list(dict.fromkeys(ended))


async def _marked(condemned: Callable[[str], bool], proc: Path) -> AsyncIterator[int]:
    for looked_at, name in enumerate(_numbers(proc), 1):
        mark = _mark_of(int(name), proc)
        if mark is not None and condemned(mark):
            yield int(name)
        if looked_at % AT_ONCE == 0:
            await asyncio.sleep(0)


def _numbers(proc: Path) -> list[str]:
    try:
        return [name for name in os.listdir(proc) if name.isdigit()]
    except OSError:
        return []


def _kill(pid: int, condemned: Callable[[str], bool], proc: Path) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:  # before Linux 5.3, as on the first Jetsons
        os.kill(pid, signal.SIGKILL)
        return
    try:
        mark = _mark_of(pid, proc)  # again: the number may be another process's by now, the descriptor is not
        if mark is not None and condemned(mark):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)


def _mark_of(pid: int, proc: Path) -> str | None:
    """None, too, of a process that has ended and only waits to be counted: its environment is empty then."""
    try:
        data = (proc / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    _, found, rest = (b"\0" + data).partition(b"\0" + MARK.encode() + b"=")
    return rest.split(b"\0", 1)[0].decode("utf-8", "replace") if found else None


def _owner(mark: str) -> Gateway | None:
    match mark.split("/", 4):
        case [boot, namespace, pid, began, _] if boot and namespace and pid.isdigit() and began.isdigit():
            return Gateway(boot, namespace, int(pid), int(began))
        case _:
            return None


def _began(pid: int, proc: Path) -> int:
    """In clock ticks since the boot; 0 where there is no such process, or it is a zombie."""
    fields = _line(proc / str(pid) / "stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in ("Z", "X") else 0


def _namespace(proc: Path) -> str:
    try:
        return os.readlink(proc / "self/ns/pid")
    except OSError:
        return ""


def _line(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
