"""Listening sockets: what they accept on, what they inherit, and what is said when they cannot."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from aionotify.process.sockets import CannotListen, address_of, listen, tune
from tests.harness import free_port


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(
    closing: ExitStack, host: str, port: int, processes: int = 1
) -> list[list[socket.socket]]:
    groups = listen(host, port, processes)
    for group in groups:
        for sock in group:
            closing.callback(sock.close)
    return groups


def connected(closing: ExitStack, sock: socket.socket) -> socket.socket:
    client = closing.enter_context(socket.socket(sock.family))
    client.connect(sock.getsockname())
    return client


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:{}"), ("::1", "http://[::1]:{}")],
)
def test_a_socket_listens_at_once(closing: ExitStack, host: str, address: str) -> None:
    [[sock]] = opened(closing, host, 0)
    connected(closing, sock)
    assert address_of(sock) == address.format(sock.getsockname()[1])


def test_the_ipv6_wildcard_takes_ipv4_too(closing: ExitStack) -> None:
    [[sock]] = opened(closing, "::", 0)
    client = closing.enter_context(socket.socket())
    client.connect(("127.0.0.1", sock.getsockname()[1]))


def test_an_accepted_connection_buffers_little_for_a_slow_reader(closing: ExitStack) -> None:
    [[sock]] = opened(closing, "127.0.0.1", 0)
    tune(sock)
    client = closing.enter_context(socket.socket())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(sock.getsockname())
    accepted = closing.enter_context(sock.accept()[0])
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16384
    accepted.setblocking(False)
    taken = accepted.send(bytes(10_000_000))
    assert taken < 400_000  # 3.9 MB without


def test_a_unix_socket_is_tuned_as_well(closing: ExitStack, tmp_path: Path) -> None:
    [[sock]] = opened(closing, f"unix:{tmp_path}/a.sock", 0)
    tune(sock)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 65536  # as Linux counts


def test_a_taken_port_is_said_to_be_in_use(closing: ExitStack) -> None:
    [[sock]] = opened(closing, "127.0.0.1", 0)
    port = sock.getsockname()[1]
    with pytest.raises(CannotListen) as caught:
        listen("127.0.0.1", port)
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1 port {port}: it is in use;"
        " choose another, or stop what listens there"
    )


def test_several_processes_share_a_port_with_a_socket_each(closing: ExitStack) -> None:
    groups = opened(closing, "127.0.0.1", 0, processes=3)
    assert len({sock.fileno() for [sock] in groups}) == 3
    assert len({sock.getsockname() for [sock] in groups}) == 1
    for _ in range(60):
        connected(closing, groups[0][0])
    for [sock] in groups:
        sock.settimeout(5)
        closing.enter_context(sock.accept()[0])


def test_the_port_of_another_installation_is_not_shared(closing: ExitStack) -> None:
    """The kernel would let every process of the same user into the group."""
    [[sock], _] = opened(closing, "127.0.0.1", 0, processes=2)
    with pytest.raises(CannotListen, match="it is in use"):
        listen("127.0.0.1", sock.getsockname()[1], processes=2)


def test_a_port_that_is_refused_leaves_no_socket_behind(closing: ExitStack) -> None:
    port = free_port()
    closing.enter_context(socket.create_server(("127.0.0.1", port)))
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(CannotListen):
        listen("127.0.0.1", port, processes=2)
    assert len(os.listdir("/dev/fd")) == before


def test_processes_share_a_unix_socket(closing: ExitStack, tmp_path: Path) -> None:
    first, second = opened(closing, f"unix:{tmp_path}/a.sock", 0, processes=2)
    assert first == second
    assert address_of(first[0]) == f"unix:{tmp_path}/a.sock"
    connected(closing, first[0])


def test_a_unix_socket_that_nobody_listens_on_any_more_is_replaced(
    closing: ExitStack, tmp_path: Path
) -> None:
    path = f"{tmp_path}/a.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    [[sock]] = opened(closing, f"unix:{path}", 0)
    connected(closing, sock)


def test_a_unix_socket_in_use_is_left_alone(closing: ExitStack, tmp_path: Path) -> None:
    [[sock]] = opened(closing, f"unix:{tmp_path}/a.sock", 0)
    with pytest.raises(CannotListen, match=r"cannot listen on unix:.*: it is in use"):
        listen(f"unix:{tmp_path}/a.sock", 0)
    connected(closing, sock)


def test_a_file_in_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(CannotListen, match="it is in use"):
        listen(f"unix:{path}", 0)
    assert path.read_text() == "data"


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.1", "cannot listen on 192.0.2.1 port 0: this machine has no such address"),
        ("unix:/nonexistent/a.sock", "cannot listen on unix:/nonexistent/a.sock: No such file"),
        ("999.1.1.1", "cannot listen on 999.1.1.1 port 0: "),
    ],
)
def test_an_address_that_cannot_be_used_is_named(host: str, message: str) -> None:
    with pytest.raises(CannotListen) as caught:
        listen(host, 0)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("127.0.0.1", "no permission; ports below 1024 need CAP_NET_BIND_SERVICE"),
        ("unix:/run/a.sock", "no permission for that directory"),
    ],
)
def test_a_missing_permission_is_named(
    monkeypatch: pytest.MonkeyPatch, host: str, hint: str
) -> None:
    """Tests may run as root, who has every permission."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(CannotListen) as caught:
        listen(host, 80)
    assert str(caught.value).endswith(hint)
