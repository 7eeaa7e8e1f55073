"""The load generator: many clients in one process, as cheap as Python has them.

Nothing is looked at while it comes in. It is kept with the time of its arrival, and read when
somebody asks what has arrived.
"""

import asyncio
import socket
import statistics
import struct
import sys
import time
from collections.abc import Iterator
from typing import cast

import msgspec

from scripts.bench import control
from scripts.bench.pace import stamps

_CONNECTING = 128  # at a time; less than a server's backlog
_HANDSHAKE = 30.0  # seconds
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: RST leaves no TIME_WAIT, so ports don't run out


class Opened(msgspec.Struct):
    """What became of opening streams; `seconds` until the last one's first byte."""

    seconds: float


class Arrived(msgspec.Struct):
    """What has arrived since the last `forget`.

    Attributes:
        events: at clients that had not had them.
        repeated: at clients that had had them, or later ones, before.
        unnumbered: events with the number 0, which are written without a publisher.
        latency: seconds from publish to arrival, at each of 0, 1, ... 100 percent, 99.9 percent.
    """

    events: int
    repeated: int
    unnumbered: int
    latency: list[float]


class _Client(asyncio.Protocol):
    __slots__ = ("closed", "last", "opened", "received", "request", "rest", "transport")

    def __init__(self, request: bytes, received: "list[tuple[int, _Client, bytes]]") -> None:
        loop = asyncio.get_running_loop()
        self.request = request
        self.received = received
        self.rest = b""
        self.last = 0
        self.opened: asyncio.Future[None] | None = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if self.opened is None:
            self.received.append((time.monotonic_ns(), self, data))
            return
        # The head has come; what may be behind it is what a stream begins with, or catch-up.
        if data.startswith(b"HTTP/1.1 200 "):
            self.received.append((time.monotonic_ns(), self, data))
            self.opened.set_result(None)
        elif not self.opened.done():
            self.opened.set_exception(ConnectionError(data[:500].decode(errors="replace")))
        self.opened = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.opened is not None and not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("closed before an answer"))
        self.closed.set_result(None)


class Load:
    """All clients, and what has arrived at them."""

    def __init__(self) -> None:
        self._clients: list[_Client] = []
        self._received: list[tuple[int, _Client, bytes]] = []
        self._latencies: list[int] = []
        self._repeated = 0
        self._unnumbered = 0

    async def open(
        self, port: int, request: str, values: list[str], connecting: int = _CONNECTING
    ) -> Opened:
        """Open a stream with each of `values` in the place of ``{}`` in `request`."""
        requests = (request.replace("{}", value).encode() for value in values)
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(connecting):
                tasks.create_task(self._open(port, requests))
        return Opened(time.monotonic() - began)

    async def _open(self, port: int, requests: Iterator[bytes]) -> None:
        loop = asyncio.get_running_loop()
        for request in requests:
            client = _Client(request, self._received)
            self._clients.append(client)
            async with asyncio.timeout(_HANDSHAKE):
                await loop.create_connection(lambda made=client: made, "127.0.0.1", port)  # type: ignore[misc]
                if client.opened is not None:
                    await client.opened

    def arrived(self) -> Arrived:
        """Read what has come in."""
        received, self._received[:] = self._received[:], []
        for at, client, data in received:
            text = client.rest + data
            end = 0
            for number, published, end in stamps(text):  # noqa: B007 - the last end is used below
                if number == 0:
                    self._unnumbered += 1
                elif number > client.last:
                    client.last = number
                    self._latencies.append(at - published)
                else:
                    self._repeated += 1
            client.rest = text[max(end, len(text) - 64) :]  # an event may come in two parts
        return Arrived(len(self._latencies), self._repeated, self._unnumbered, self._quantiles())

    def forget(self) -> None:
        """Begin to count anew."""
        self.arrived()
        self._latencies = []
        self._repeated = 0
        self._unnumbered = 0

    async def close(self) -> None:
        """Close all streams."""
        clients, self._clients = self._clients, []
        for client in clients:
            sock = client.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.transport.abort()
        for client in clients:
            await client.closed
        self.forget()

    def _quantiles(self) -> list[float]:
        values = sorted(self._latencies)
        if len(values) < 2:
            return []
        cuts = statistics.quantiles(values, n=1000, method="inclusive")
        return [value / 1e9 for value in (values[0], *cuts[9:999:10], values[-1], cuts[998])]


if __name__ == "__main__":
    load = Load()
    commands = {name: getattr(load, name) for name in ("open", "arrived", "forget", "close")}
    control.run(control.obey(int(sys.argv[1]), commands), "auto")
