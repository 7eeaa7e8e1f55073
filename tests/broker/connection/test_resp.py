"""Hearing: what comes in pieces, in floods, or not as it should."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError

from aionotify import tasks
from aionotify.broker.connection.resp import read_replies, send
from tests.harness import eventually

MESSAGE = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$%d\r\n%b\r\n"


class Line:
    """A connection to somebody who says what the test tells him to, and listens if it does."""

    def __init__(
        self, reader: asyncio.StreamReader, said: asyncio.StreamWriter, connection: Connection
    ) -> None:
        self.reader = reader
        self.said = said
        self.connection = connection
        self.heard: list[Any] = []
        self.hearing = asyncio.create_task(read_replies(connection, self.heard.extend))

    @property
    def transport(self) -> asyncio.WriteTransport:
        """Our end."""
        assert self.connection._writer is not None
        return self.connection._writer.transport


@asynccontextmanager
async def called() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, Connection]]:
    """What the other side has of a connection, and the connection."""
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda *both: accepted.put_nowait(both), "127.0.0.1", 0, limit=1024
    )
    host, port = server.sockets[0].getsockname()
    connection = Connection(host=host, port=port, protocol=2, driver_info=None)
    await connection.connect()  # type: ignore[no-untyped-call]
    reader, said = await accepted.get()
    try:
        yield reader, said, connection
    finally:
        if connection._writer is not None:
            connection._writer.transport.abort()
        await connection.disconnect(nowait=True)
        said.transport.abort()
        server.close()


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    async with called() as other:
        line = Line(*other)
        await asyncio.sleep(0)  # it hears from now on
        try:
            yield line
        finally:
            await tasks.cancelled([line.hearing])


async def test_a_message_in_pieces_is_heard_as_one() -> None:
    """Wherever it is cut, and once only."""
    async with line() as it:
        for byte in MESSAGE % (3, b"a\r\n"):
            it.said.write(bytes([byte]))
            await it.said.drain()
            await asyncio.sleep(0)
        await eventually(lambda: it.heard == [[b"message", b"c", b"a\r\n"]])


async def test_a_flood_is_heard_in_order_and_lets_others_have_their_turn() -> None:
    """It takes several steps of the loop, so that clients can take what is written meanwhile."""
    bodies = [b"%07d" % number * 100 for number in range(1500)]  # a megabyte
    async with line() as it:
        it.said.write(b"".join(MESSAGE % (len(body), body) for body in bodies))
        seen = set()
        while len(it.heard) < len(bodies):
            await asyncio.sleep(0)
            seen.add(len(it.heard))
        assert [message[2] for message in it.heard] == bodies
        assert len(seen) > 10


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"-NOPERM no permissions\r\n", ResponseError),
        (b"HTTP/1.1 400 Bad Request\r\n", InvalidResponse),
    ],
)
async def test_a_reply_that_is_no_message_ends_the_connection(
    said: bytes, error: type[Exception]
) -> None:
    """Redis refuses what was asked, or it is not Redis; nothing that follows counts."""
    async with line() as it:
        it.said.write(MESSAGE % (1, b"a") + said + MESSAGE % (1, b"b"))
        with pytest.raises(error):
            await it.hearing
        assert it.heard == [[b"message", b"c", b"a"]]


async def test_a_lost_connection_ends_it_and_nothing_can_be_said() -> None:
    """One error for both, whatever the event loop calls it."""
    async with line() as it:
        it.said.transport.abort()
        with pytest.raises(RedisConnectionError):
            await it.hearing
        with pytest.raises(RedisConnectionError):
            await send(it.connection, "SUBSCRIBE", "c")


async def test_a_connection_that_was_lost_before_it_is_heard_is_no_silent_one() -> None:
    """The event loop has said so already, to whoever read then."""
    async with called() as (_, said, connection):
        said.close()
        assert connection._reader is not None
        await eventually(connection._reader.at_eof)
        async with asyncio.timeout(5):
            with pytest.raises(RedisConnectionError):
                await read_replies(connection, print)


@pytest.mark.parametrize("lost", [False, True])
async def test_saying_waits_for_whoever_listens(lost: bool) -> None:
    """Or all of it would be kept here. One who is gone is waited for no longer."""
    async with line() as it:
        it.said.transport.pause_reading()  # type: ignore[attr-defined]
        talking = asyncio.create_task(_talk(it.connection, 20_000_000))
        sizes = [-1, 0]

        def full() -> bool:
            sizes.append(it.transport.get_write_buffer_size())
            return sizes[-1] == sizes[-2] > 0

        await eventually(full)
        assert sizes[-1] < 200_000
        async with asyncio.timeout(5):
            if lost:
                it.said.transport.abort()
                with pytest.raises(RedisConnectionError):
                    await talking
            else:
                it.said.transport.resume_reading()  # type: ignore[attr-defined]
                await it.reader.readexactly(20_000_000)
                await talking


async def _talk(connection: Connection, size: int) -> None:
    for _ in range(size // 10_000):
        await send(connection, "SUBSCRIBE", "c" * 10_000)
