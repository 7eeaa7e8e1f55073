"""What stands between one client and a node: hears requests, cuts streams, leads elsewhere."""

import asyncio
import re
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self

from tests.harness import free_port

MARK = b"CUT-HERE"  # in an event's data: after it a stream is cut
_ASKED = re.compile(rb"(?:GET /notify(?:\?\S*)?|POST /notify/ticket) HTTP/1\.1\r\n")

How = Literal["FIN", "RST"]


@dataclass(frozen=True)
class Asked:
    """A request for a stream, or for a ticket: when (`time.monotonic`), with which head."""

    at: float
    head: str


class Gate:
    """Passes bytes between its own port of 127.0.0.1 and a node's.

    Attributes:
        asked: the requests for streams and tickets so far.
        cut_next: how to cut the next stream in which the mark comes.
        cut_opened: how many streams to cut as soon as they have begun.
        flowing: while it is not set, no client gets anything.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.asked: list[Asked] = []
        self.cut_next: How | None = None
        self.cut_opened = 0.0
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._target = target
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    def lead_to(self, target: int) -> None:
        """Connect new connections to another node."""
        self._target = target

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        up: asyncio.Task[None] | None = None
        node: asyncio.StreamWriter | None = None
        try:
            answers, node = await asyncio.open_connection("127.0.0.1", self._target)
            up = asyncio.create_task(self._up(reader, node), name="gate")
            await self._down(answers, writer)
        except (OSError, asyncio.CancelledError):
            pass  # there is no node, or this is the end: Python 3.11 would log the latter
        finally:
            if up is not None:
                up.cancel()
            for each in (writer, node):
                if each is not None:
                    each.close()
            self._serving.discard(task)

    async def _up(self, client: asyncio.StreamReader, node: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            head = b""
            while data := await client.read(65536):
                head += data
                while b"\r\n\r\n" in head:  # no request here has a body
                    whole, _, head = head.partition(b"\r\n\r\n")
                    if _ASKED.match(whole + b"\r\n"):
                        self.asked.append(Asked(time.monotonic(), whole.decode("latin-1")))
                node.write(data)
                await node.drain()
        node.close()  # so that the other direction ends as well

    async def _down(self, node: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            tail = b""
            while data := await node.read(65536):
                await self.flowing.wait()
                seen = tail + data
                if self.cut_next is not None and MARK in seen:
                    end = seen.index(MARK) + len(MARK) - len(tail)
                    client.write(data[:end])
                    how, self.cut_next = self.cut_next, None
                    return self._cut(client, how)
                client.write(data)
                tail = seen[-len(MARK) + 1 :]
                if self.cut_opened > 0 and b"event: aionotify.open\n" in seen:
                    self.cut_opened -= 1
                    return self._cut(client, "FIN")
                await client.drain()
        return None

    def _cut(self, client: asyncio.StreamWriter, how: How) -> None:
        if how == "RST":
            sock = client.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.transport.abort()
