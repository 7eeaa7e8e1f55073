"""Events at an even pace, and what publishes them without waiting for anybody.

Knows nothing of who is measured: the pace is the same whether an event goes through Redis or is
a byte that makes the server write.
"""

import socket
import time
from collections.abc import Callable, Iterable
from typing import Self

from aionotify.broker.inbox import EPHEMERAL_MARK
from aionotify.broker.keys import Keys

PAYLOAD = 200  # bytes of JSON

# Added to what is written, so that all numbers are of one length (load.c), and JSON all the same.
_NUMBER = 10**9
_TIME = 10**18


def message(recipient: str, number: int, size: int = PAYLOAD) -> bytes:
    """An event of `size` bytes that says when it was made.

    Args:
        recipient: a user id, or ``"*"``.
        number: grows from event to event; 0 for one that nobody counts.
    """
    body = b'{"recipient_id":"%b","event":"bench","data":{"n":%d,"t":%d,"pad":""}}'
    text = body % (recipient.encode(), _NUMBER + number, _TIME + time.monotonic_ns())
    return text[:-3] + b"x" * (size - len(text)) + text[-3:]


def ephemeral_message(recipient: str, number: int) -> tuple[bytes, bytes]:
    """An event as `Publisher` sends it, after its channel."""
    channel = Keys("aionotify").live(recipient).encode()
    return channel, EPHEMERAL_MARK + message(recipient, number)


def pace(count: int, rate: float, emit: Callable[[int, int], None]) -> None:
    """Call ``emit(first, end)`` for `count` events, `rate` a second; blocks, so give it a thread.

    Several at a time only when the machine has kept us from being on time.
    """
    began = time.perf_counter()
    done = 0
    while done < count:
        due = min(count, int((time.perf_counter() - began) * rate) + 1)
        if due > done:
            emit(done, due)
            done = due
        time.sleep(max(0.0, began + done / rate - time.perf_counter()))


class RawPublisher:
    """``PUBLISH`` of raw bytes, without even looking at the answers.

    Args:
        port: of a Redis on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(b"CLIENT REPLY OFF\r\n")

    def publish(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Publish messages, each with the channel before it."""
        self._socket.sendall(
            b"".join(
                b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
                % (len(channel), channel, len(message), message)
                for channel, message in messages
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()


class Trigger:
    """Makes the server write: once for each byte."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pull(self, times: int = 1) -> None:
        self._socket.sendall(b"." * times)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()
