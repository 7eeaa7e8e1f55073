"""Listening sockets: made before anything else starts, so that a taken port is reported at once.

Each accepted connection inherits the options set here. This module knows sockets, not what they
serve.
"""

import contextlib
import errno
import os
import socket
import stat

from aionotify.errors import AionotifyError

BACKLOG = 4096  # connections waiting to be accepted, in a reconnect storm; the kernel caps it

# Bytes the kernel buffers for a slow reader. The default is 3.9 MB, also for one that has gone.
_UNSENT = 16384
_SEND_BUFFER = 65536

# Milliseconds that a client may take nothing of an answer. Without a limit, a client that asks and
# does not read keeps its connection for ever. A stream has its own limit.
_UNTAKEN = 60_000


class CannotListen(AionotifyError):
    """An address cannot be listened on; the text says which, why, and what to do."""


def listen(host: str, port: int, processes: int = 1) -> list[list[socket.socket]]:
    """Return for each of `processes` the sockets on which it can accept connections.

    `host` is ``unix:/path``, an address, or a name, which may resolve to several addresses; ``::``
    includes IPv4. Each process has its own TCP sockets, so that the kernel spreads connections over
    them; processes share a Unix socket.

    Raises CannotListen.
    """
    try:
        if host.startswith("unix:"):
            return [[_unix(host.removeprefix("unix:"))]] * processes
        shared = processes > 1
        if shared and port:
            # SO_REUSEPORT shares with any process of the same user: first test that it is free.
            for sock in _tcp(host, port, shared=False):
                sock.close()
        first = _tcp(host, port, shared)
        port = first[0].getsockname()[1]
        return [first, *(_tcp(host, port, shared) for _ in range(processes - 1))]
    except OSError as error:
        raise CannotListen(_explanation(error, host, port)) from None


def tune(sock: socket.socket) -> None:
    """Bound what the kernel buffers for each connection accepted from `sock`, and how long."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    if sock.family == socket.AF_UNIX:
        return
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNTAKEN)


def address_of(sock: socket.socket) -> str:
    """Return what a client calls `sock`: ``http://127.0.0.1:8001`` or ``unix:/path``."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _tcp(host: str, port: int, shared: bool) -> list[socket.socket]:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing = None
    with contextlib.ExitStack() as undo:
        for family, address in dict.fromkeys((info[0], info[4]) for info in infos):
            both = family == socket.AF_INET6 and address[0] == "::"
            try:
                sock = socket.create_server(
                    address, family=family, backlog=BACKLOG, reuse_port=shared, dualstack_ipv6=both
                )
            except OSError as error:
                # "localhost" may have an address of a family that is switched off.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error
            else:
                undo.callback(sock.close)
                sockets.append(sock)
        if missing and not sockets:
            raise missing
        undo.pop_all()
    return sockets


def _unix(path: str) -> socket.socket:
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(socket.socket(socket.AF_UNIX))
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(path).st_mode):
                _remove_stale(path)
        sock.bind(path)
        sock.listen(BACKLOG)
        undo.pop_all()
    return sock


def _remove_stale(path: str) -> None:
    """Remove the socket file of a process that is gone; only connecting shows whether it is."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def _explanation(error: OSError, host: str, port: int) -> str:
    address = host if host.startswith("unix:") else f"{host} port {port}"
    match error.errno:
        case errno.EADDRINUSE:
            hint = "it is in use; choose another, or stop what listens there"
        case errno.EACCES | errno.EPERM:
            hint = "no permission; ports below 1024 need CAP_NET_BIND_SERVICE"
            if host.startswith("unix:"):
                hint = "no permission for that directory"
        case errno.EADDRNOTAVAIL:
            hint = "this machine has no such address"
        case _:
            hint = error.strerror or str(error)
    return f"cannot listen on {address}: {hint}"
