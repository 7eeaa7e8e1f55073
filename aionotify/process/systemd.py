"""The protocol between systemd and a service; without systemd, it does nothing.

Sources: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3). Knows nothing of the service.
"""

import contextlib
import os
import socket
import sys
from collections.abc import MutableMapping

_FIRST_FD = 3  # SD_LISTEN_FDS_START


def notify(state: str) -> None:
    """Send `state`, for example ``READY=1``, to the service manager if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # in the abstract namespace, unix(7)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # The service goes on even if the manager is busy or gone.
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.sendto(state.encode(), address)


def watchdog_interval() -> float | None:
    """Return the seconds within which ``WATCHDOG=1`` must come; None without a watchdog."""
    if not _is_for_us(os.environ.get("WATCHDOG_PID", str(os.getpid()))):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None


def take_sockets(
    environ: MutableMapping[str, str] = os.environ,
) -> dict[str, list[socket.socket]]:
    """Return the listening sockets that systemd passes, by ``FileDescriptorName=``.

    Removes the variables from `environ`, so that no child process takes them for its own.
    """
    pid, count, names = (
        environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    sockets: dict[str, list[socket.socket]] = {}
    if not _is_for_us(pid) or not count.isdecimal():
        return sockets
    for fd, name in enumerate(_padded(names.split(":"), int(count)), _FIRST_FD):
        os.set_inheritable(fd, False)
        sockets.setdefault(name, []).append(socket.socket(fileno=fd))
    return sockets


def _padded(names: list[str], count: int) -> list[str]:
    return (names + [""] * count)[:count]


def _is_for_us(pid: str) -> bool:
    # A one-file binary unpacks itself in a parent process, which is the one systemd knows.
    ours = {os.getpid(), os.getppid()} if getattr(sys, "frozen", False) else {os.getpid()}
    return pid.isdecimal() and int(pid) in ours
