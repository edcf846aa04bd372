"""This process's own figures, read from Linux when somebody asks. Names as every Prometheus client library has them."""

from __future__ import annotations

import os
import resource
import time

from moltbot_edge.metrics.catalogue import Metrics


def read_into(metrics: Metrics) -> None:
    with open("/proc/self/statm", "rb") as file:
        resident_pages = int(file.read().split()[1])
    metrics.process_resident_memory_bytes.cell().set(resident_pages * os.sysconf("SC_PAGE_SIZE"))
    metrics.process_cpu_seconds.cell().value = time.process_time()
    metrics.process_open_fds.cell().set(len(os.listdir("/proc/self/fd")) - 1)  # one was the folder's own
    started = metrics.process_start_time_seconds.cell()
    if not started.value:
        started.set(start_time_seconds())
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    metrics.process_max_fds.cell().set(float("inf") if limit == resource.RLIM_INFINITY else limit)


def start_time_seconds() -> float:
    """Seconds since 1970, to the clock tick. Asked for once: it would move whenever the machine's clock is set."""
    with open("/proc/self/stat", "rb") as file:
        # proc_pid_stat(5): field 22, in ticks since boot. The name, field 2, may hold spaces and brackets.
        ticks = int(file.read().rpartition(b") ")[2].split()[19])
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age_s
