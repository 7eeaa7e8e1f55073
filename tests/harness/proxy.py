"""A TCP proxy to put between a node and Redis, for the faults of networks."""

import asyncio
import math
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Self

from tests.harness.ports import free_port

_ON_ITS_WAY = 256  # reads of a connection, after which nothing more is taken in
_GONE = (ConnectionError, RuntimeError)  # the latter is what uvloop says of a write to nobody


class TcpProxy:
    """Passes bytes between its own `port` and port `target` of 127.0.0.1.

    With `tls`, its own side speaks TLS. A fault concerns the connections there are and, until
    `restore`, new ones too.
    """

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self.accepted = 0  # connections so far
        self.delay = 0.0  # seconds that each way takes
        self._target = target
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._left = math.inf  # bytes that may still come from the target
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """What goes into `redis.url`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def lead_to(self, target: int) -> None:
        """Connect new connections to another port, as a name does that was changed."""
        self._target = target

    def stall(self) -> None:
        """Pass nothing more, not even that a side has closed: a firewall that lost its state."""
        self._flowing.clear()

    def cut(self) -> None:
        """Drop the connections there are; new ones are welcome."""
        for writer in self._writers:
            # Over TLS Python 3.11.2 has it fail when both sides have closed the connection.
            with suppress(AttributeError):
                writer.transport.abort()

    def cut_after(self, count: int) -> None:
        """Drop the connections there are once `count` (> 0) more bytes came from the target."""
        self._left = count

    async def refuse(self) -> None:
        """Drop the connections there are and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    async def restore(self) -> None:
        """End every fault."""
        self._left = math.inf
        self.delay = 0.0
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, ssl=self._tls
            )

    async def __aenter__(self) -> Self:
        await self.restore()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.refuse()
        self._flowing.set()
        await asyncio.gather(*self._handlers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        self._writers.add(writer)
        self.accepted += 1
        try:
            answers, target = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
        else:
            self._writers.add(target)
            if writer.is_closing():  # cut meanwhile
                target.close()
            await asyncio.gather(self._up(reader, target), self._down(answers, writer))
            self._writers.discard(target)
        self._writers.discard(writer)
        self._handlers.discard(handler)

    async def _up(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(*_GONE):
            async with aclosing(self._arriving(source)) as arriving:
                async for data in arriving:
                    sink.write(data)
                    await sink.drain()
        sink.close()

    async def _down(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(*_GONE):
            async with aclosing(self._arriving(source)) as arriving:
                async for data in arriving:
                    cut = len(data) >= self._left
                    if cut:
                        data = data[: int(self._left)]
                    self._left -= len(data)
                    sink.write(data)
                    await sink.drain()
                    if cut:
                        self._left = math.inf
                        self.cut()
        sink.close()

    async def _arriving(self, source: asyncio.StreamReader) -> AsyncGenerator[bytes]:
        """What comes out of the network, in its order and its time."""
        on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_ON_ITS_WAY)
        entering = asyncio.create_task(self._enter(source, on_its_way), name="proxy")
        try:
            while True:
                due, data = await on_its_way.get()
                if (left := due - time.monotonic()) > 0:
                    await asyncio.sleep(left)
                await self._flowing.wait()
                if not data:
                    break
                yield data
        finally:
            entering.cancel()

    async def _enter(
        self, source: asyncio.StreamReader, on_its_way: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        data = b"-"
        while data:
            try:
                data = await source.read(65536)
            except ConnectionError:
                data = b""
            await on_its_way.put((time.monotonic() + self.delay, data))
