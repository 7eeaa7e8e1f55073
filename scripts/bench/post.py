"""Producers over HTTP, as cheap as Python has them: a request for each event, or one for all."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_TICK = 0.001  # seconds
_LINES = 200  # events that are written at once
_LINE_LIMIT = 1 << 20  # bytes


class PostFailed(Exception):
    """An event was not taken; says what the answer was."""


async def post_each(port: int, requests: list[bytes], connections: int, rate: float | None) -> None:
    """Send requests, `rate` a second or as fast as answers come, over so many connections.

    Raises:
        PostFailed: an answer's status is not 2xx.
    """
    loop = asyncio.get_running_loop()
    producer = _Producer(iter(requests), len(requests), loop.create_future())
    made = [
        await loop.create_connection(lambda: _Connection(producer), "127.0.0.1", port)
        for _ in range(connections)
    ]
    try:
        began = time.perf_counter()
        while not producer.done.done():
            elapsed = time.perf_counter() - began
            producer.allow(len(requests) if rate is None else int(elapsed * rate) + 1)
            everything = producer.allowed >= len(requests)
            await asyncio.wait([producer.done], timeout=None if everything else _TICK)
        producer.done.result()
    finally:
        for transport, _ in made:
            transport.abort()
        await asyncio.sleep(0)  # for them to close


class _Producer:
    """What all connections have in common."""

    def __init__(self, requests: Iterator[bytes], count: int, done: asyncio.Future[None]) -> None:
        self.requests = requests
        self.left = count  # answers that are still to come
        self.allowed = 0
        self.sent = 0
        self.done = done
        self.idle: list[_Connection] = []

    def allow(self, count: int) -> None:
        self.allowed = count
        while self.idle and self.sent < self.allowed:
            if not self.send(self.idle.pop()):
                break

    def send(self, connection: "_Connection") -> bool:
        """Send the next request if it is time for it; or have the connection wait."""
        request = next(self.requests, None) if self.sent < self.allowed else None
        if request is None:
            self.idle.append(connection)
            return False
        self.sent += 1
        connection.transport.write(request)
        return True

    def answered(self, connection: "_Connection") -> None:
        self.left -= 1
        self.send(connection)
        if self.left == 0:
            self.done.set_result(None)

    def failed(self, answer: bytes) -> None:
        if not self.done.done():
            self.done.set_exception(PostFailed(answer[:500].decode(errors="replace")))


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, producer: _Producer) -> None:
        self.producer = producer
        self.answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        self.producer.send(self)

    def data_received(self, data: bytes) -> None:
        self.answer += data
        end = self.answer.find(b"\r\n\r\n")
        if end < 0:
            return
        if not self.answer.startswith(b"HTTP/1.1 2"):
            self.producer.failed(self.answer)
            return
        length = _LENGTH.search(self.answer, 0, end + 2)
        if len(self.answer) < end + 4 + (int(length[1]) if length else 0):
            return
        self.answer = b""
        self.producer.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.producer.failed(b"the connection was lost")


async def post_lines(port: int, head: bytes, events: list[bytes]) -> None:
    """Send events as lines of one chunked request, and read a line for each.

    Raises:
        PostFailed: an event was refused, or the answer ended before its time.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LINE_LIMIT)

    async def write() -> None:
        writer.write(head)
        for start in range(0, len(events), _LINES):
            lines = b"".join(event + b"\n" for event in events[start : start + _LINES])
            writer.write(b"%x\r\n%b\r\n" % (len(lines), lines))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            answered = 0
            while answered < len(events):
                line = await reader.readline()
                refused = line.startswith(b"HTTP/1.1 ") and not line.startswith(b"HTTP/1.1 200")
                if not line or refused:
                    raise PostFailed(line.decode(errors="replace") or "the answer has ended")
                if line.startswith(b'{"status":'):
                    if not line.startswith(b'{"status":202'):
                        raise PostFailed(line.decode(errors="replace"))
                    answered += 1
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
