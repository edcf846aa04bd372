"""The seam to QEMU, with a program in its place that speaks as a guest does."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from living import killed_at_the_end, lives, until

from qemu.machine import emulator
from qemu.machine.emulator import Board, command, running
from qemu.machine.kernel import Kernel
from qemu.machine.verdict import ROOT, Failed, Log

BOARD = Board(Kernel(Path("/boot/vmlinuz")), "cortex-a72", Path("/tmp/initramfs"))
ObedientGuest = Callable[[str], None]

GUEST = """\
printf 'booting\\r\\nBOARD kernel: 6.12\\r\\nBOARD ready\\r\\n'
while read -r word; do
  case $word in
    memory) printf 'BOARD VmRSS: 100\\nBOARD ready\\n' ;;
    break) printf 'BOARD failed: it is broken\\nthe reason\\nBOARD ready\\nnot heard\\n' ;;
    panic) printf '[ 1.0] Kernel panic - not syncing: no init\\n'; sleep 600 ;;
    off) printf 'the last words'; exit 0 ;;
  esac
done
sleep 600
"""


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log", io.StringIO(), "test", io.StringIO())


def heard(log: Log) -> str:
    assert isinstance(log._file, io.StringIO)
    return log._file.getvalue()


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObedientGuest:
    def put(script: str) -> None:
        program = tmp_path / "qemu-system-aarch64"
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(emulator, "require", lambda *tools: None)
    put(GUEST)
    return put


def test_a_guest_is_told_words_and_heard_until_it_powers_off(guest: ObedientGuest, log: Log) -> None:
    with running(BOARD, log) as board:
        assert board.console.until_ready(10, "power-on") == {"kernel": "6.12"}
        assert board.console.told("memory", 10) == {"VmRSS": "100"}
        board.console.tell("off")
        board.ended(10)
    assert heard(log).endswith("| BOARD VmRSS: 100\n| BOARD ready\n| the last words\n")


def test_what_a_guest_says_of_a_failure_is_the_reason_and_the_rest_is_kept(guest: ObedientGuest, log: Log) -> None:
    with running(BOARD, log) as board:
        board.console.until_ready(10, "power-on")
        with pytest.raises(Failed, match=r"^it is broken$"):
            board.console.told("break", 10)
    assert "| the reason\n" in heard(log)


def test_a_kernel_that_panics_is_not_waited_for(guest: ObedientGuest, log: Log) -> None:
    with running(BOARD, log) as board:
        board.console.until_ready(10, "power-on")
        with pytest.raises(Failed, match="the kernel died after the word 'panic': no init"):
            board.console.told("panic", 600)


def test_a_guest_that_says_nothing_is_waited_for_so_long_and_then_killed(guest: ObedientGuest, log: Log) -> None:
    guest("echo BOARD kernel: 6.12; exec sleep 600\n")
    with (
        pytest.raises(Failed, match="not ready 1 s after power-on; it was at 'kernel'"),
        running(BOARD, log) as board,
    ):
        board.console.until_ready(1, "power-on")
    assert board.process.returncode == -signal.SIGKILL


def test_a_qemu_that_does_not_start_is_said(guest: ObedientGuest, log: Log) -> None:
    guest("echo 'qemu-system-aarch64: unable to find CPU model' >&2; exit 1\n")
    with pytest.raises(Failed, match="QEMU ended after power-on"), running(BOARD, log) as board:
        board.console.until_ready(10, "power-on")
    assert "| qemu-system-aarch64: unable to find CPU model\n" in heard(log)


def test_a_port_that_somebody_took_meanwhile_is_not_the_end(guest: ObedientGuest, log: Log, tmp_path: Path) -> None:
    first = tmp_path / "first"
    trouble = "qemu-system-aarch64: -netdev user: Could not set up host forwarding rule"
    guest(f"[ -e {first} ] || {{ touch {first}; echo '{trouble}'; exit 1; }}\n{GUEST}")
    with running(BOARD, log) as board:
        assert board.console.until_ready(10, "power-on") == {"kernel": "6.12"}
    assert first.exists()


def test_qemu_ends_with_a_script_that_is_killed(guest: ObedientGuest) -> None:
    guest("echo BOARD pid: $$; echo BOARD ready; exec sleep 600\n")
    source = f"""\
import io, os, sys, time
sys.path.insert(0, {str(ROOT / "scripts")!r})
os.environ["PATH"] = {os.environ["PATH"]!r}
from pathlib import Path
from qemu.machine import emulator
from qemu.machine.kernel import Kernel
from qemu.machine.verdict import Log
emulator.require = lambda *tools: None
nothing = emulator.Board(Kernel(Path("/boot/vmlinuz")), "cortex-a72", Path("/tmp/initramfs"))
with emulator.running(nothing, Log(None, io.StringIO(), "test", io.StringIO())) as board:
    print(board.console.until_ready(30, "power-on")["pid"], flush=True)
    time.sleep(600)
"""
    with killed_at_the_end(source) as output:
        number = int(output.readline())
        assert lives(number)
    asyncio.run(until(lambda: not lives(number)))


def test_the_board_is_on_loopback_and_its_disk_stays_as_it_was() -> None:
    words = " ".join(command(Board(BOARD.kernel, "cortex-a76", BOARD.initramfs, Path("/a,b/disk"), "extra=1"), 4000))
    assert "hostfwd=tcp:127.0.0.1:4000-:8080" in words
    assert "file=/a,,b/disk,if=none,id=disk,format=raw,snapshot=on" in words
    assert words.count("-cpu cortex-a76") == 1
    assert "extra=1" in words
