"""The floor: a bare asyncio protocol for each stream, and one for Redis, on uvloop.

As little as Python can do and still deliver: no parser of HTTP, no checks, no limits, no headers
but the type. What aionotify costs beyond this is what it is good for.
"""

import asyncio
import sys
from collections import defaultdict

import hiredis
import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

Streams = defaultdict[bytes, dict["Stream", None]]


class Stream(asyncio.Protocol):
    """One client, from its request on."""

    __slots__ = ("streams", "transport", "user")

    transport: asyncio.Transport

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.user = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self.user = data.split(b"u=", 1)[1].split(b" ", 1)[0]
        self.streams[self.user][self] = None
        self.transport.write(_HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self.streams[self.user].pop(self, None)


class Events(asyncio.Protocol):
    """The connection to Redis."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.reader = hiredis.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"PSUBSCRIBE user:*\r\n")  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (message := self.reader.gets()) is not False:
            if message[0] != b"pmessage":
                continue
            _, _, channel, event = message
            frame = b"data: " + event + b"\n\n"
            user = channel[5:]
            for streams in self.streams.values() if user == b"*" else [self.streams[user]]:
                for stream in streams:
                    stream.transport.write(frame)


async def main(port: int, redis_port: int) -> None:
    streams: Streams = defaultdict(dict)
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: Events(streams), "127.0.0.1", redis_port)
    server = await loop.create_server(lambda: Stream(streams), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
