"""QEMU as a 64-bit ARM board of the generic kind (``virt``), whose console is a pair of pipes.

The guest has one network card behind QEMU's own NAT: it reaches this machine's loopback as 10.0.2.2, and this machine
reaches its port 8080 by a free port of loopback. QEMU ends with the script that started it, however that ends
(``setpriv --pdeathsig``). Always emulated, never KVM: the processor is to be the named one. Source:
qemu-system-aarch64(1), and QEMU's docs/system/arm/virt.rst and docs/devel/tcg-icount.rst.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Final

from .console import Console
from .debian import require
from .kernel import Kernel
from .verdict import Failed, Log

MEMORY_MB: Final = 512  # a Pi Zero 2 W has that much, and no board that is sold has less
CORES: Final = 2
# One core that does one instruction in a nanosecond of the guest's time: what a guest measures is then the same however
# busy this machine is.
COUNTED: Final = ("-accel", "tcg,thread=single", "-icount", "shift=0", "-smp", "1")
NOT_COUNTED: Final = ("-accel", "tcg,thread=multi", "-smp", str(CORES))
HOST_IN_GUEST: Final = "10.0.2.2"
GUEST_ADDRESS: Final = "10.0.2.15/24"
SERVED_PORT: Final = 8080
END_S: Final = 20.0  # from its guest's power-off to QEMU's end
ATTEMPTS: Final = 3  # the port was free a moment ago

APPEND: Final = "console=ttyAMA0 quiet panic=-1 net.ifnames=0"


@dataclass(frozen=True)
class Board:
    kernel: Kernel
    cpu: str
    initramfs: Path
    disk: Path | None = None
    append: str = ""
    counted: bool = False


@dataclass(frozen=True)
class Running:
    console: Console
    port: int  # on loopback, forwarded to the guest's SERVED_PORT
    process: subprocess.Popen[bytes]

    def ended(self, limit_s: float = END_S) -> None:
        """Wait until QEMU has ended by itself, as it does when its guest powers off."""
        self.console.drain(limit_s)
        try:
            status = self.process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"the guest did not power off within {limit_s:.0f} s") from error
        if status != 0:
            raise Failed(f"QEMU ended with status {status}")


@contextmanager
def running(board: Board, log: Log) -> Iterator[Running]:
    """From power-on to whatever comes first: the guest's power-off or the block's end."""
    require("qemu-system-aarch64", "setpriv")
    for attempt in range(1, ATTEMPTS + 1):
        port = free_port()
        words = command(board, port)
        log.line("$ " + " ".join(words))
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,  # a Ctrl-C reaches the script, which ends QEMU in its own order
        )
        assert process.stdin is not None
        assert process.stdout is not None
        console = Console(process.stdin, process.stdout, log)
        try:
            if attempt < ATTEMPTS and console.hears_of_a_taken_port():
                continue
            yield Running(console, port, process)
            return
        finally:
            process.kill()
            process.wait()
            with suppress(OSError):
                process.stdin.close()
            process.stdout.close()


def command(board: Board, port: int) -> list[str]:
    disk: Sequence[str] = ()
    if board.disk is not None:
        # With snapshot=on what the guest writes goes to a file of this run's own, which is gone with it.
        disk = (
            *("-drive", f"file={_escaped(board.disk)},if=none,id=disk,format=raw,snapshot=on"),
            *("-device", "virtio-blk-device,drive=disk"),
        )
    return [
        "qemu-system-aarch64",
        *("-machine", "virt", "-cpu", board.cpu, "-m", str(MEMORY_MB)),
        *(COUNTED if board.counted else NOT_COUNTED),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *("-netdev", f"user,id=network,ipv6=off,hostfwd=tcp:127.0.0.1:{port}-:{SERVED_PORT}"),
        *("-device", "virtio-net-device,netdev=network"),
        *("-kernel", str(board.kernel.image), "-initrd", str(board.initramfs)),
        *("-append", f"{APPEND} {board.append}".strip()),
        *disk,
    ]


def free_port() -> int:
    with socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        port: int = any_socket.getsockname()[1]
        return port


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")  # a comma ends an option's value
