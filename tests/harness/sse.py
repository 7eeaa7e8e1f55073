"""A Server-Sent Events client that shares no code with the server, to judge it by.

`EventParser` follows the HTML Standard, section 9.2.6. `SSEClient` speaks just enough HTTP to get
at the bytes, and can misbehave the way real clients do.
"""

import asyncio
import re
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, cast
from urllib.parse import urlsplit

from tests.harness.wait import PATIENCE


@dataclass(frozen=True, slots=True)
class SSEEvent:
    """An event as EventSource would dispatch it; `id` is the last event id at that moment."""

    id: str
    event: str
    data: str


class EventParser:
    """Bytes of an event stream in, events out; also counts the comment lines."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None  # ms
        self.comments = 0
        self._rest = b""
        self._started = False
        # The Standard has it empty at first; browsers keep what they have over a reconnect.
        self._id_buffer = last_event_id
        self._event = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[SSEEvent]:
        """Yield the events that `chunk` completes."""
        self._rest += chunk
        if not self._started:
            if len(self._rest) < 3 and b"\xef\xbb\xbf".startswith(self._rest):
                return  # a byte order mark, perhaps
            self._rest = self._rest.removeprefix(b"\xef\xbb\xbf")
            self._started = True
        # A CR at the end may be half of a CRLF.
        while match := re.search(rb"\r\n|\n|\r(?!\Z)", self._rest):
            line, self._rest = self._rest[: match.start()], self._rest[match.end() :]
            event = self._line(line.decode("utf-8", "replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> SSEEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "":
            self.comments += 1
        elif field == "event":
            self._event = value
        elif field == "data":
            self._data.append(value)
        elif field == "id" and "\0" not in value:
            self._id_buffer = value
        elif field == "retry" and re.fullmatch("[0-9]+", value):
            self.retry = int(value)
        return None

    def _dispatch(self) -> SSEEvent | None:
        self.last_event_id = self._id_buffer
        data, event = self._data, self._event
        self._data, self._event = [], ""
        if not data:
            return None
        return SSEEvent(self.last_event_id, event or "message", "\n".join(data))


class SSEClient:
    """One client of one event stream, over as many connections as it takes.

    What it has seen adds up over `reconnect`: `events`, and `heartbeats` (comment lines). Of the
    latest connection there are `status`, `headers` (names in lower case), `raw` (the bytes after
    the response's head, chunk sizes included) and `end`: None while it lasts, then "complete" (as
    HTTP ends a body), "cut" (closed in the middle) or "reset".

    `receive_buffer` is the socket's, in bytes; a small one makes `stall` felt at once.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        version: str = "1.1",
        receive_buffer: int | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        self._headers = {"Host": parts.netloc, "Accept": "text/event-stream", **(headers or {})}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._version = version
        self._receive_buffer = receive_buffer
        self.events: list[SSEEvent] = []
        self.last_event_id = ""
        self.retry: int | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.raw = bytearray()
        self.end: str | None = None
        self._past_comments = 0
        self._parser = EventParser()
        self._changed = asyncio.Condition()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def heartbeats(self) -> int:
        """How many comment lines came in, over all connections."""
        return self._past_comments + self._parser.comments

    @property
    def data(self) -> list[str]:
        """The data of each event."""
        return [event.data for event in self.events]

    async def connect(self, *, timeout: float = PATIENCE) -> None:
        """Send the request and return when the response's head is in."""
        try:
            async with asyncio.timeout(timeout):
                reader = await self._open()
                await self._read_head(reader)
        except BaseException:
            await self.close()
            raise
        self._task = asyncio.create_task(self._read_body(reader), name="sse-client")

    async def reconnect(self, *, timeout: float = PATIENCE) -> None:
        """Close, and connect again with the last event id, as EventSource does."""
        await self.close()
        await self.connect(timeout=timeout)

    async def wait_for(
        self, condition: Callable[[Sequence[SSEEvent]], object], timeout: float = PATIENCE
    ) -> None:
        """Return when `condition`, given all events so far, is true."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: condition(self.events))
        except TimeoutError:
            raise AssertionError(
                f"not within {timeout:g} s; end: {self.end}, last of {len(self.events)} events: "
                f"{self.events[-5:]}"
            ) from None

    async def wait_events(self, count: int, timeout: float = PATIENCE) -> list[SSEEvent]:
        """Return all events when there are at least `count`."""
        await self.wait_for(lambda events: len(events) >= count, timeout)
        return self.events

    async def wait_end(self, timeout: float = PATIENCE) -> str:
        """Return how the response ended, when it has."""
        await self.wait_for(lambda _: self.end is not None, timeout)
        return self.end or ""

    def stall(self) -> None:
        """Stop reading; what comes fills the socket, and then the server's."""
        self._flowing.clear()
        self._transport.pause_reading()

    def flow(self) -> None:
        """Read on after `stall`."""
        self._flowing.set()
        self._transport.resume_reading()

    def reset(self) -> None:
        """Vanish: the server gets a RST."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def close(self) -> None:
        """Leave as a browser does that closes the tab."""
        task, self._task = self._task, None
        if self._writer is not None:
            self._writer.close()
        self._flowing.set()
        if task is not None:
            await task

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def _transport(self) -> asyncio.Transport:
        if self._writer is None:
            raise RuntimeError("not connected")
        return cast("asyncio.Transport", self._writer.transport)

    async def _open(self) -> asyncio.StreamReader:
        self.status, self.headers, self.raw, self.end = 0, {}, bytearray(), None
        self._past_comments += self._parser.comments
        self._parser = EventParser(self.last_event_id)
        sock = socket.socket()
        sock.setblocking(False)
        if self._receive_buffer is not None:
            # Before connecting, for the window is agreed on then.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self._address)
        except BaseException:
            sock.close()
            raise
        reader, self._writer = await asyncio.open_connection(sock=sock, limit=16384)
        headers = dict(self._headers)
        if self.last_event_id:
            headers["Last-Event-ID"] = self.last_event_id
        lines = [f"GET {self._target} HTTP/{self._version}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        return reader

    async def _read_head(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        self.status = int(first.split()[1])
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()

    async def _read_body(self, reader: asyncio.StreamReader) -> None:
        body = _Body(self.headers)
        try:
            while not body.complete and (chunk := await self._read(reader)):
                self.raw += chunk
                await self._take(body.feed(chunk))
            end = "complete" if body.complete or body.until_close else "cut"
        except ConnectionError:
            end = "reset"
        async with self._changed:
            self.end = end
            self._changed.notify_all()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        await self._flowing.wait()
        return await reader.read(16384)

    async def _take(self, content: bytes) -> None:
        async with self._changed:
            self.events.extend(self._parser.feed(content))
            self.last_event_id = self._parser.last_event_id
            self.retry = self._parser.retry if self._parser.retry is not None else self.retry
            self._changed.notify_all()


class _Body:
    """Takes the chunked coding off a body (RFC 9112 section 7.1), if it has one."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length")
        self._left = None if length is None else int(length)
        self.until_close = not self._chunked and self._left is None
        self.complete = self._left == 0
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return the content that `data` completes."""
        if self._chunked:
            self._rest += data
            return b"".join(self._chunks())
        if self._left is not None:
            self._left -= len(data)
            self.complete = self._left <= 0
        return data

    def _chunks(self) -> Iterator[bytes]:
        while not self.complete:
            size, found, rest = self._rest.partition(b"\r\n")
            length = int(size, 16) if found else 0
            if not found or len(rest) < length + 2:
                return
            assert rest[length : length + 2] == b"\r\n", "a chunk is longer than it says"
            yield rest[:length]
            self._rest = rest[length + 2 :]
            self.complete = length == 0
