"""This process's own figures, against what the system says of it."""

from __future__ import annotations

import math
import os
import resource
import time
from pathlib import Path

from moltbot_edge.metrics import process
from moltbot_edge.metrics.catalogue import Metrics


def resident_bytes() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def test_memory_is_what_the_status_says() -> None:
    metrics = Metrics()
    process.read_into(metrics)
    value = metrics.process_resident_memory_bytes.cell().value
    assert abs(value - resident_bytes()) < 0.2 * resident_bytes()


def test_memory_that_is_taken_shows() -> None:
    metrics = Metrics()
    process.read_into(metrics)
    before = metrics.process_resident_memory_bytes.cell().value
    held = bytearray(os.urandom(32 << 20))
    process.read_into(metrics)
    assert metrics.process_resident_memory_bytes.cell().value - before > 16 << 20
    assert len(held) == 32 << 20


def test_an_open_file_is_counted() -> None:
    metrics = Metrics()
    process.read_into(metrics)
    before = metrics.process_open_fds.cell().value
    with open("/dev/null"):
        process.read_into(metrics)
        assert metrics.process_open_fds.cell().value == before + 1
    assert before < metrics.process_max_fds.cell().value
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert metrics.process_max_fds.cell().value == (math.inf if limit == resource.RLIM_INFINITY else limit)


def test_cpu_time_only_rises() -> None:
    metrics = Metrics()
    process.read_into(metrics)
    before = metrics.process_cpu_seconds.cell().value
    sum(n * n for n in range(300_000))
    process.read_into(metrics)
    assert 0 < before < metrics.process_cpu_seconds.cell().value <= time.process_time()


def test_the_start_lies_in_the_past_and_stays() -> None:
    metrics = Metrics()
    process.read_into(metrics)
    started = metrics.process_start_time_seconds.cell().value
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    assert int(boot.split()[1]) <= started <= time.time()
    process.read_into(metrics)
    assert metrics.process_start_time_seconds.cell().value == started
