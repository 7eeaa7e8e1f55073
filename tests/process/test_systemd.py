"""What systemd and a service say to each other."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aionotify.process import systemd


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """The socket on which a service manager listens."""
    path = f"{tmp_path}/notify"
    name = path if request.param == "path" else f"@{path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0"))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield sock


def test_a_state_reaches_the_service_manager(manager: socket.socket) -> None:
    systemd.notify("READY=1\nSTATUS=Grüße")
    assert manager.recv(1000).decode() == "READY=1\nSTATUS=Grüße"


def test_a_service_manager_that_does_not_read_holds_nobody_up(manager: socket.socket) -> None:
    for _ in range(5000):
        systemd.notify("WATCHDOG=1")


@pytest.mark.parametrize("address", [None, "", "relative", "/nonexistent/notify", "vsock:2:1"])
def test_without_a_service_manager_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("20000000", str(os.getpid()), 20.0),
        ("500000", None, 0.5),
        ("500000", "1", None),
        ("500000", "x", None),
        ("0", None, None),
        ("-5", None, None),
        ("often", None, None),
        (None, None, None),
    ],
)
def test_the_watchdog_waits_only_for_whom_it_names(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, seconds: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert systemd.watchdog_interval() == seconds


TAKE = """
import fcntl, os, sys
whose, *fds = sys.argv[1:]
above = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in fds]
for fd, sock in enumerate(above, 3):
    os.dup2(sock, fd)
os.environ["LISTEN_PID"] = str(os.getpid() if whose == "own" else os.getppid())
from aionotify.process import systemd
for name, sockets in systemd.take_sockets().items():
    for sock in sockets:
        print(name, sock.getsockname()[1], os.get_inheritable(sock.fileno()))
print([name for name in os.environ if name.startswith("LISTEN_")])
"""


def taken(sockets: list[socket.socket], whose: str, **environ: str) -> list[str]:
    """Start a process with `sockets` from descriptor 3 on, and return what it says it got."""
    fds = [sock.fileno() for sock in sockets]
    return subprocess.run(
        [sys.executable, "-c", TAKE, whose, *map(str, fds)],
        env={**os.environ, **environ},
        pass_fds=fds,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def test_sockets_are_taken_by_their_names_and_not_passed_on() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as web,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as admin,
    ):
        lines = taken([web, admin], "own", LISTEN_FDS="2", LISTEN_FDNAMES="aionotify.socket:admin")
        assert lines == [
            f"aionotify.socket {web.getsockname()[1]} False",
            f"admin {admin.getsockname()[1]} False",
            "[]",
        ]


def test_sockets_need_no_names() -> None:
    with socket.create_server(("127.0.0.1", 0)) as web:
        lines = taken([web], "own", LISTEN_FDS="1")
        assert lines == [f" {web.getsockname()[1]} False", "[]"]


def test_sockets_for_another_process_are_not_taken() -> None:
    """A shell in between inherits the variables, and its children would, too."""
    with socket.create_server(("127.0.0.1", 0)) as web:
        assert taken([web], "other", LISTEN_FDS="1") == ["[]"]
