"""The benchmark's readings of /proc, on real child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from benchmark import measure
from benchmark.measure import Cores

MIB = 1 << 20


@contextmanager
def python(program: str) -> Iterator[subprocess.Popen[str]]:
    """A child that has printed its first line."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield child
        finally:
            child.kill()


def test_a_child_of_a_child_belongs_to_the_tree() -> None:
    nested = (
        "import subprocess; c = subprocess.Popen(['cat'], stdin=subprocess.PIPE); print(c.pid, flush=True); input()"
    )
    with python(nested) as child:
        assert len(measure.tree(child.pid)) == 2
        assert os.getpid() in measure.tree(os.getppid())


def test_cpu_time_counts_threads_that_have_ended() -> None:
    burn = "import threading, time\ndef burn():\n while time.thread_time() < 0.2: pass\n"
    run = "t = threading.Thread(target=burn); t.start(); t.join(); print('done', flush=True); input()"
    with python(burn + run) as child:
        assert measure.cpu_us([child.pid]) >= 200_000


def test_a_process_that_is_gone_costs_and_holds_nothing() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert measure.cpu_us([gone.pid]) == 0
    assert measure.memory([gone.pid]).rss_bytes == 0
    assert measure.resident_bytes([gone.pid]) == 0


def test_what_a_process_writes_is_anonymous_memory() -> None:
    with python("held = b'x' * (64 << 20); print('holding', flush=True); input()") as child:
        memory = measure.memory([child.pid])
    assert memory.anonymous_bytes >= 64 * MIB
    assert memory.rss_bytes >= memory.pss_bytes >= memory.anonymous_bytes


def test_the_peak_begins_again_when_it_is_reset() -> None:
    with python("x = b'x' * (64 << 20); del x; print('freed', flush=True); input()") as child:
        assert measure.resident_bytes([child.pid], "VmHWM:") >= 64 * MIB
        measure.reset_peak([child.pid])
        assert measure.resident_bytes([child.pid], "VmHWM:") < 64 * MIB


def test_a_child_stays_on_the_core_that_it_was_started_on() -> None:
    core = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    with measure.pinned(core), python("print('here', flush=True); input()") as child:
        assert os.sched_getaffinity(child.pid) == {core}
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("allowed", "cores"),
    [
        ({0}, Cores(target=0, stub=0, load=0)),
        ({0, 1}, Cores(target=1, stub=0, load=0)),
        ({4, 5, 6, 7}, Cores(target=7, stub=4, load=6)),
    ],
)
def test_a_target_has_a_core_of_its_own_where_there_are_two(allowed: set[int], cores: Cores) -> None:
    assert Cores.choose(allowed) == cores


def test_the_machines_work_only_grows() -> None:
    before = measure.busy_us()
    end = time.process_time() + 0.03
    while time.process_time() < end:
        pass
    assert measure.busy_us() > before
