"""Thousands of clients at once, each no more than a socket."""

import resource
import selectors
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

SPARE = 200  # file descriptors for everything else


def request(
    path: str = "/notify", token: str | None = None, *lines: str, method: str = "GET"
) -> bytes:
    """The bytes of a request without a body."""
    if token is not None:
        lines = (f"Authorization: Bearer {token}", *lines)
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


@dataclass
class _Client:
    socket: socket.socket
    request: bytes
    got: bytearray = field(default_factory=bytearray)


class Storm:
    """Sends each of `requests` on a connection of its own, all at once; blocks, so use a thread.

    The connections stay open until the end of ``with``. `statuses` counts the answers.
    """

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        _raise_file_limit(len(requests) + SPARE)
        self._selector = selectors.DefaultSelector()
        self._clients: list[_Client] = []
        self.statuses: Counter[int] = Counter()
        for each in requests:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            client = _Client(sock, each)
            self._clients.append(client)
            self._selector.register(sock, selectors.EVENT_WRITE, client)

    def run(self, timeout: float = 30) -> Self:
        """Return when everybody has got the head of an answer."""
        deadline = time.monotonic() + timeout
        while self._selector.get_map():
            left = deadline - time.monotonic()
            assert left > 0, f"{len(self._selector.get_map())} wait still; so far {self.statuses}"
            for key, _ in self._selector.select(left):
                self._step(key.data)
        return self

    def _step(self, client: _Client) -> None:
        sock = client.socket
        if client.request:
            sock.sendall(client.request)  # less than any buffer
            client.request = b""
            self._selector.modify(sock, selectors.EVENT_READ, client)
            return
        data = sock.recv(65536)
        client.got += data
        if not data or b"\r\n\r\n" in client.got:
            self.statuses[int(client.got.split(maxsplit=2)[1]) if client.got else 0] += 1
            self._selector.unregister(sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._selector.close()
        for client in self._clients:
            client.socket.close()


def _raise_file_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
