"""This process's own figures, read from Linux when somebody asks. Names as every Prometheus client library has them."""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress

from moltbot_edge.metrics.catalogue import Metrics


def read_into(metrics: Metrics) -> None:
    """What only /proc tells is left out where there is none, as in an empty root."""
    metrics.process_cpu_seconds.cell().value = time.process_time()
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    metrics.process_max_fds.cell().set(float("inf") if limit == resource.RLIM_INFINITY else limit)
    with suppress(FileNotFoundError):
        resident_bytes, began = _resident_bytes(), start_time_seconds()
        metrics.process_resident_memory_bytes.cell().set(resident_bytes)
        metrics.process_open_fds.cell().set(len(os.listdir("/proc/self/fd")) - 1)  # one was the folder's own
        started = metrics.process_start_time_seconds.cell()
        if not started.value:
            started.set(began)


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
