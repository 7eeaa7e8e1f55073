"""What processes have used, as the kernel counts it, and ports for them."""

import random
import socket
from pathlib import Path

_PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """A process and all that have come of it."""
    children = (task / "children" for task in (_PROC / str(pid) / "task").iterdir())
    found = [int(child) for file in children for child in file.read_text().split()]
    return [pid, *(each for child in found for each in tree(child))]


def cpu(pid: int) -> float:
    """Seconds of CPU that a process and its children have used so far, to the nanosecond."""
    tasks = (task for each in tree(pid) for task in (_PROC / str(each) / "task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def pss(pid: int) -> int:
    """Bytes of memory of a process and its children: what they share counts once."""
    return sum(map(_pss, tree(pid)))


def _pss(pid: int) -> int:
    for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the kernel does not tell the PSS of process {pid}")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, below those of outgoing connections."""
    for port in random.sample(range(20000, 32000), k=100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port between 20000 and 32000")
