"""Hearing: what comes in pieces, in floods, or not as it should."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError

from aionotify import tasks
from aionotify.broker.hearing import hear, say
from tests.harness import eventually

MESSAGE = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$%d\r\n%b\r\n"


class Line:
    """A connection to somebody who says what the test tells him to."""

    def __init__(self, said: asyncio.StreamWriter, connection: Any) -> None:
        self.said = said
        self.connection = connection
        self.heard: list[Any] = []
        self.hearing = asyncio.create_task(hear(connection, self.heard.append))


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda _, writer: accepted.put_nowait(writer), "127.0.0.1", 0
    )
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    line = Line(await accepted.get(), SimpleNamespace(_writer=writer))
    await asyncio.sleep(0)  # it hears from now on
    try:
        yield line
    finally:
        await tasks.cancelled([line.hearing])
        writer.transport.abort()
        line.said.transport.abort()
        server.close()


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
async def test_what_is_no_message_ends_it(said: bytes, error: type[Exception]) -> None:
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
            await say(it.connection, "SUBSCRIBE", "c")
