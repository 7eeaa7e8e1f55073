"""What the kernel is told about the socket of a stream."""

import asyncio
import socket
import struct
from typing import Final

_TCP: Final = (socket.AF_INET, socket.AF_INET6)
_UNSENT: Final = 16384  # bytes in the kernel that have not been sent yet
_NOTSENT_LOWAT: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends RST


def bound(transport: asyncio.BaseTransport, send_timeout: float) -> None:
    """Have the socket say that it is full long before the kernel has taken megabytes, and end when
    what it has taken is not acknowledged for `send_timeout` seconds.

    In place of aiohttp-sse's `_set_tcp_user_timeout`, which also keeps what there was before, for a
    connection that outlives its stream; none of ours does.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in _TCP or sock.fileno() < 0:
        return
    # uvloop would make another socket for each option, and so does this, but once.
    own = socket.SocketType(sock.family, sock.type, sock.proto, sock.fileno())
    try:
        if _NOTSENT_LOWAT is not None:
            own.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _UNSENT)
        if _USER_TIMEOUT is not None:
            own.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(send_timeout * 1000))
    finally:
        own.detach()


def reset(transport: asyncio.Transport) -> None:
    """Close with RST: after a polite close the kernel would keep what the client never took, up to
    some megabytes, until it gives up on it.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in _TCP and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
