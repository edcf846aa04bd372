"""This process's own figures, read from Linux when somebody asks. Names as every Prometheus client library has them."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

from moltbot_edge.metrics.catalogue import Metrics


def read_into(metrics: Metrics) -> None:
    """What only /proc tells is NaN where there is none, as in an empty root."""
    metrics.process_cpu_seconds.cell().value = time.process_time()
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    metrics.process_max_fds.cell().set(float("inf") if limit == resource.RLIM_INFINITY else limit)
    metrics.process_resident_memory_bytes.cell().set(_told(_resident_bytes))
    metrics.process_open_fds.cell().set(_told(_open_files))
    started = metrics.process_start_time_seconds.cell()
    if not started.value:
        started.set(_told(start_time_seconds))


def _told(by: Callable[[], float]) -> float:
    try:
        return by()
    except FileNotFoundError:
        return float("nan")


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd")) - 1  # one was the folder's own


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def start_time_seconds() -> float:
    """Seconds since 1970, to the clock tick. Asked for once: it would move whenever the machine's clock is set."""
    with open("/proc/self/stat", "rb") as file:
        # proc_pid_stat(5): field 22, in ticks since boot. The name, field 2, may hold spaces and brackets.
        ticks = int(file.read().rpartition(b") ")[2].split()[19])
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age_s
