"""The standard metrics of a process, ``process_…``, as in all Prometheus clients.

prometheus_client's own collector counts open files by listing them, which blocks the event loop for
5 ms per 10,000 streams.
"""

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

_SELF: Final = Path("/proc/self")


def process_metrics() -> Iterator[Metric]:
    """Yield the metrics of this process; fewer without /proc."""
    yield CounterMetricFamily(
        "process_cpu_seconds", "User and system CPU time in seconds.", time.process_time()
    )
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield GaugeMetricFamily(
        "process_max_fds",
        "Limit of open file descriptors.",
        float("inf") if limit == resource.RLIM_INFINITY else limit,
    )
    with contextlib.suppress(OSError):
        yield GaugeMetricFamily("process_open_fds", "Open file descriptors.", _open_files())
        yield GaugeMetricFamily(
            "process_resident_memory_bytes", "Resident memory in bytes.", _resident_memory()
        )
        yield GaugeMetricFamily(
            "process_start_time_seconds", "Start of the process in unix time.", _started_at()
        )


def _open_files() -> int:
    # Since Linux 6.2 the size of this directory is the number of open files, proc_pid_fd(5).
    files = _SELF / "fd"
    return files.stat().st_size or len(os.listdir(files))


def _resident_memory() -> int:
    return int((_SELF / "statm").read_text().split()[1]) * resource.getpagesize()


def _started_at() -> float:
    after_name = (_SELF / "stat").read_text().rpartition(")")[2].split()
    ticks = int(after_name[19])  # starttime, proc_pid_stat(5)
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - since_boot + ticks / os.sysconf("SC_CLK_TCK")
